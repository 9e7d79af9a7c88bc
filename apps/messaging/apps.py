from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "apps.messaging"
    verbose_name = "Messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import pre_delete

        from apps.messaging import exchange
        from apps.routing.models import ServerSet

        pre_delete.connect(exchange.check_removal, sender=ServerSet)
