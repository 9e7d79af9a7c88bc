import django

django.setup()  # pytest reads this file before it configures anything when the folder is named to it

from tests.accounts.tenants import alices, mallorys, tenants  # noqa: E402

__all__ = ["alices", "mallorys", "tenants"]
