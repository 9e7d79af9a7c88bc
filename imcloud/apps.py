from django.apps import AppConfig


class ImcloudConfig(AppConfig):
    name = "imcloud"

    def ready(self) -> None:
        # Makes our Celery app the one that @shared_task binds to, in every process that runs Django.
        from imcloud import celery  # noqa: F401
