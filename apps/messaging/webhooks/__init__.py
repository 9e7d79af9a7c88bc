"""Webhooks: a tenant's own server is told what happens here, and asked what may (docs/webhooks.md).

routing      reads the SET's log with a cursor, and stores what is to be told of it
events       stores what is to be told of users and chatrooms
deliveries   the table of what is to be told, and what became of it
dispatcher   tells it, in order, again when it failed, and pauses for receivers that are away
judging      asks before a message is stored
sending      signs, and sends to addresses that may be sent to
"""
