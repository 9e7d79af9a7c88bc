"""Sensitive words in the admin pages: a tenant's are listed, deleted, and imported from a file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path

from apps.accounts.admin import ReadOnlyAdmin, TenantFilter
from apps.accounts.models import Tenant
from apps.messaging import sensitive_words, word_import
from apps.messaging.models import SensitiveWord, WordList
from apps.messaging.word_import import FILE_MAX, WordFileError

LIST = "admin:messaging_sensitiveword_changelist"


class ImportForm(forms.Form):
    """`words` is there when the form is valid."""

    tenant = forms.ModelChoiceField(Tenant.objects.order_by("name"))
    file = forms.FileField(
        help_text=f"UTF-8, {FILE_MAX >> 20} MB at most; one word a line, as `word` or as `word,replacement`."
    )
    words: list[sensitive_words.Sensitive]

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        try:
            self.words = word_import.read(file.read(FILE_MAX + 1))
        except WordFileError as error:
            raise forms.ValidationError(error.problems) from None
        return file


class KindFilter(admin.SimpleListFilter):
    title = parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("refused", "refused"), ("replaced", "replaced")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SensitiveWord]) -> QuerySet[SensitiveWord]:
        if self.value() == "refused":
            return queryset.filter(replacement="")
        return queryset.exclude(replacement="") if self.value() == "replaced" else queryset


@admin.register(SensitiveWord)
class SensitiveWordAdmin(ReadOnlyAdmin):
    list_display = ("word", "replacement", "tenant")
    list_filter = (TenantFilter, KindFilter)
    search_fields = ("=folded", "word__startswith")
    ordering = ("tenant", "folded")
    change_list_template = "admin/messaging/sensitiveword/list.html"

    def get_urls(self) -> list[Any]:
        return [
            path("import/", self.admin_site.admin_view(self.import_words), name="messaging_words_import"),
            *super().get_urls(),
        ]

    def import_words(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("messaging.add_sensitiveword"):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            tenant: Tenant = form.cleaned_data["tenant"]
            try:
                left = sensitive_words.add(tenant.pk, form.words)
            except sensitive_words.Full as full:
                form.add_error("file", str(full))
            else:
                done = f"Imported {len(form.words)} sensitive words from {form.cleaned_data['file'].name}."
                self.log_change(request, tenant, done)
                self.message_user(request, f"{done} {left} more may be added.", messages.SUCCESS)
                return redirect(LIST)
        context = {
            **self.admin_site.each_context(request),
            "title": "Import sensitive words",
            "opts": self.opts,
            "form": form,
        }
        return TemplateResponse(request, "admin/messaging/sensitiveword/import.html", context)

    def has_delete_permission(self, request: HttpRequest, obj: SensitiveWord | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def delete_model(self, request: HttpRequest, obj: SensitiveWord) -> None:
        sensitive_words.remove(obj.tenant, [obj.word])  # workers are to know

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[SensitiveWord]) -> None:
        by_tenant: dict[int, list[str]] = {}
        for tenant, word in queryset.values_list("tenant", "word"):
            by_tenant.setdefault(tenant, []).append(word)
        for tenant, its in by_tenant.items():
            sensitive_words.remove(tenant, its)


@admin.register(WordList)
class WordListAdmin(ReadOnlyAdmin):
    list_display = ("tenant", "version")
    ordering = ("tenant",)
