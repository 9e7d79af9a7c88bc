"""The paths under /demo/."""

from django.urls import path

from imcloud.demo import views

app_name = "demo"
urlpatterns = [
    path("", views.page, name="page"),
    path("sign-in", views.sign_in, name="sign-in"),
    path("group/join", views.change_group, {"change": "join"}, name="join-group"),
    path("group/leave", views.change_group, {"change": "leave"}, name="leave-group"),
]
