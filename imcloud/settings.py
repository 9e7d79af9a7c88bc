"""Django's settings, all of them made from imcloud.config."""

import multiprocessing
import os
import socket
import sys
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from imcloud import sites
from imcloud.config import BASE_DIR, kombu_url, read, sentinel
from imcloud.log_format import not_unavailable
from imcloud.secret_file import made_once

CONFIG = read(os.environ)
DATA_DIR = CONFIG.data
PUBLIC_ADDRESS = CONFIG.public_address
PROXIES = CONFIG.proxies
ACCESS_POINT = CONFIG.access_point
MESSAGE_RATE = CONFIG.message_rate  # a second and connection; 0: not limited
MESSAGE_BURST = CONFIG.message_burst
QUERY_RATE = CONFIG.query_rate  # as above
QUERY_BURST = CONFIG.query_burst
SIGNATURE_WINDOW = CONFIG.signature_window  # s; 0: any
SIGNATURE_ONCE = CONFIG.signature_once
if CONFIG.sites == len(sites.NAMES):
    sites.have(DATA_DIR)
REDIS_URL = CONFIG.redis
REDIS_SENTINEL = sentinel(REDIS_URL)  # None: one server
BROKER_URL = kombu_url(CONFIG.broker)
BROKER_SENTINEL = sentinel(CONFIG.broker)
# How Sentinels are asked. Without an answer the next one is: so no second try.
SENTINEL_OPTIONS = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": None}  # s
# A site that loses its power does not say so: a connection on which nothing is acknowledged any more is ended
# within 5 s. Without that, a gateway that only listens would do so for a quarter of an hour.
KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (
        ("TCP_KEEPIDLE", 2),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 5000),  # ms
    )
    if hasattr(socket, name)  # Linux has them all
}
MASTER_OPTIONS = {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
# What logs and databases call this process. Those that are forked from it take names of their own.
multiprocessing.current_process().name = CONFIG.process or " ".join(sys.argv[1:3]) or "python"
SECRET_KEY = CONFIG.secret_key or made_once(DATA_DIR / "secret_key")
DEBUG = CONFIG.debug
ALLOWED_HOSTS = list(CONFIG.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(CONFIG.trusted_origins)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "imcloud",
    "apps.accounts",
    "apps.routing",
    "apps.messaging",
]
# The pages' middleware is listed there; the admin's checks look for it here.
MIDDLEWARE = ["imcloud.pages.PagesMiddleware"]
SILENCED_SYSTEM_CHECKS = ["admin.E408", "admin.E409", "admin.E410"]
ROOT_URLCONF = "imcloud.urls"
ASGI_APPLICATION = "imcloud.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "imcloud" / "demo" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
STATIC_URL = "/static/"
# Found where they are at each request; there is no step that collects them.
STATICFILES_DIRS = [BASE_DIR / "imcloud" / "demo" / "static"]


def database(url: str) -> dict[str, Any]:
    """Django's description of a database URL, as libpq reads it: `host` and `port` may be lists."""
    given = conninfo_to_dict(url)
    host, port = str(given.pop("host", "")), str(given.pop("port", ""))
    return {
        "ENGINE": "imcloud.postgresql",
        "NAME": given.pop("dbname"),
        "USER": given.pop("user", ""),
        "PASSWORD": given.pop("password", ""),
        "HOST": host,
        "PORT": port,
        "CONN_MAX_AGE": 0,  # the pool keeps the connections
        "CONN_HEALTH_CHECKS": True,  # a pooled connection to a restarted server would fail once
        "OPTIONS": {
            "pool": {
                "min_size": 0,
                "max_size": 8,  # threads of a process at most
                "timeout": 1,  # s, five times: see imcloud.postgresql
                # By itself it doubles the pause between its tries: after ten minutes without a database, it
                # would look again minutes after that is back.
                "reconnect_timeout": 1,  # s
            },
            "connect_timeout": 2 if "," in host else 5,  # s, for each host
            **given,
        },
    }


DATABASES = {"default": database(CONFIG.control_database)}
DATABASE_FROM_URL = database
SET_DATABASE_URL = CONFIG.set_databases  # those of the SETs; apps.routing.databases makes their aliases
DATABASE_ROUTERS = ["apps.routing.databases.SetRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CHANNEL_LAYERS = {
    "default": {
        # Publish/subscribe: one PUBLISH reaches every gateway, where the list-based layer would store a copy
        # for each and fetch it in three round trips. What it may lose are hints; see apps.routing.feed.
        "BACKEND": "apps.routing.redis_clients.ChannelLayer",
    }
}

STORAGE_URL = CONFIG.storage_url.rstrip("/")
STORAGE_KIND = CONFIG.storage_kind
STORAGE_BUCKET = CONFIG.storage_bucket
STORAGE_REGION = CONFIG.storage_region
STORAGE_KEY = CONFIG.storage_key
STORAGE_SECRET = CONFIG.storage_secret
STORAGE_LIFETIME = CONFIG.storage_lifetime  # s
STORAGE_SIZE = CONFIG.storage_size  # bytes
UPLOAD_TARGET = CONFIG.upload_target
HISTORY_FOLDER = DATA_DIR / "history"
WEBHOOK_PRIVATE = CONFIG.webhook_private
WEBHOOK_KEPT = CONFIG.webhook_kept  # days
WEBHOOK_CA = CONFIG.webhook_ca

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LANGUAGE_CODE = "en"
TIME_ZONE = CONFIG.time_zone
USE_TZ = True
# Browsers ignore this header on plain http and complain about it; a proxy that ends TLS may add it.
SECURE_CROSS_ORIGIN_OPENER_POLICY = None

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "imcloud.log_format.LineFormatter",
            "format": "%(asctime)s %(levelname)-7s [%(processName)s] %(name)s: %(message)s",
        }
    },
    "filters": {
        "not_unavailable": {"()": "django.utils.log.CallbackFilter", "callback": not_unavailable},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": CONFIG.log_level},
    "loggers": {
        "django": {"handlers": [], "propagate": True, "level": "INFO"},
        "django.request": {"filters": ["not_unavailable"]},
        "django.server": {"handlers": [], "propagate": True},
        "daphne": {"level": "WARNING"},
        # It warns at every try while a database is away; whoever asked for a connection says so once.
        "psycopg.pool": {"level": "ERROR"},
    },
}
