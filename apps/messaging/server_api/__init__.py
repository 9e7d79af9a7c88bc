"""The REST API for the tenants' own servers, compatible with RongCloud's published server SDKs."""
