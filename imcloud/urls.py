"""Every path that is answered over HTTP; `/websocket` is routed in imcloud.asgi."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve as static_file
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from apps.messaging.server_api import history_files, reference
from apps.messaging.server_api.view import serve as server_api
from apps.routing import health, navigation
from imcloud import scrape

urlpatterns = [
    path("", RedirectView.as_view(url="/demo/")),
    path("demo", RedirectView.as_view(url="/demo/")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("demo/", include("imcloud.demo.urls")),
    # There is no step that collects static files and no server before this one: it finds them itself.
    path("static/<path:path>", static_file, {"insecure": True}),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", scrape.serve),
    path("navi.js", navigation.script),
    path("cometnavi.js", navigation.script),
    path("v2/navi.json", navigation.document),
    path("ping", navigation.ping),
    path("api/docs", reference.page),
    path("api/openapi.json", reference.document),
    path("history/<str:token>/<str:hour>.zip", history_files.download),
    re_path("", server_api),  # every other path is the server API's, which has its own form of "not found"
]
