"""Texts by the meaning of a column's name: Faker's, or plain ones where Faker is not installed."""

import random
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Make = Callable[[int, random.Random], object]

# A text of Faker takes some 30 microseconds and more, so that so many are made and then repeated,
# each with the number of its row.
_POOL = 40

_SOFT_DELETES = re.compile(
    r"(^|_)(deleted|archived|removed|revoked|cancell?ed|disabled|locked|banned|suspended|trashed)"
    r"(_|$)",
    re.I,
)
# What a column's name means, as the name of a provider of Faker. The first match counts.
_MEANINGS = tuple(
    (re.compile(pattern, re.I), provider)
    for pattern, provider in (
        (r"e_?mail", "email"),
        (r"user_?name|login|nick", "user_name"),
        (r"first_?name|given_?name", "first_name"),
        (r"last_?name|sur_?name|family_?name", "last_name"),
        (r"full_?name|display_?name|author|person|contact", "name"),
        (r"company|organi[sz]ation", "company"),
        (r"phone|mobile", "phone_number"),
        (r"street|address", "street_address"),
        (r"city|town", "city"),
        (r"country", "country"),
        (r"zip|post_?code|postal", "postcode"),
        (r"job|position", "job"),
        (r"description|content|body|comment|note|summary|bio|about|message", "sentence"),
        (r"title|subject|headline|label", "word"),
        (r"colou?r", "color_name"),
    )
)
# Forms that code parses, so that they are made without Faker too.
_FORMS: tuple[tuple[re.Pattern[str], Callable[[int], str]], ...] = tuple(
    (re.compile(pattern, re.I), form)
    for pattern, form in (
        (r"ur[li]$|link|website|homepage|webhook", lambda n: f"https://example.org/{n}"),
        (r"host_?name|domain", lambda n: f"host{n}.example.org"),
        (r"(^|_)ip(_|$)|ip_?addr|remote_addr", lambda n: f"10.0.{n // 250 % 250}.{n % 250 + 1}"),
        (
            r"mac_?addr",
            lambda n: f"08:00:2b:{n // 65536 % 256:02x}:{n // 256 % 256:02x}:{n % 256:02x}",
        ),
        (r"slug", lambda n: f"slug-{n}"),
        (r"mime|content_type|media_type", lambda n: "text/plain"),
        (r"file_?name|(^|_)path$", lambda n: f"folder/file{n}.txt"),
        (r"time_?zone|^tz$", lambda n: "UTC"),
        (r"locale|language|^lang$", lambda n: "en"),
        (r"(^|_)currency", lambda n: "EUR"),
        (r"country_?code", lambda n: "DE"),
        (r"uuid|guid", lambda n: f"00000000-0000-4000-8000-{n:012x}"),
        (r"(json|metadata|settings|config|extra|payload)(_json|_data)?s?$", lambda n: "{}"),
    )
)


def soft_deletes(name: str) -> bool:
    """Whether a value in a column of this name means that the row counts as deleted."""
    return _SOFT_DELETES.search(name) is not None


def text_source(
    name: str, shortest: int, longest: int | None, seed: int, *, distinct: bool = False
) -> Make:
    """What makes the texts of a column.

    Args:
        name: The column's name.
        shortest: The least length.
        longest: The largest length; None without one.
        seed: Selects Faker's texts.
        distinct: Whether the texts have to differ.

    Returns:
        A function of the number of a row. Its texts differ as long as their length allows it,
        but for those whose form has one value, such as a time zone.
    """
    for pattern, form in _FORMS:
        if distinct and form(0) == form(1):
            continue
        if pattern.search(name) and _has_room(form, shortest, longest):
            return lambda n, _chance, form=form: form(n)  # type: ignore[misc]
    provider = next((found for pattern, found in _MEANINGS if pattern.search(name)), None)
    if provider == "email" and longest is not None and longest < _EMAIL_LENGTH:
        provider = None
    words = _pool(provider, seed) or _WORDS.get(provider or "") or (name.strip("_") or "text",)
    return lambda n, _chance: _numbered(words[n % len(words)], n, shortest, longest)


_EMAIL_LENGTH = 40
# Where Faker is not installed.
_WORDS = {"email": ("user@example.org",)}


def _has_room(form: Callable[[int], str], shortest: int, longest: int | None) -> bool:
    lengths = (len(form(0)), len(form(10**6)))
    return shortest <= min(lengths) and (longest is None or max(lengths) <= longest)


def _numbered(word: str, n: int, shortest: int, longest: int | None) -> str:
    """A word with a number, cut so that the number stays."""
    name, at, host = word.partition("@")
    number = str(n)
    if longest is not None and len(number) > longest:
        number = _in_base_36(n)[-longest:] if longest else ""
    if at:
        text = f"{name}{number}@{host}"
        if longest is None or len(text) <= longest:
            return text.rjust(shortest, "a")
    room = None if longest is None else max(0, longest - len(number) - 1)
    if room is not None and room < 2:
        room = max(0, (longest or 0) - len(number))
        return f"{word[:room]}{number}".rjust(shortest, "a")
    return f"{word[:room]} {number}".rjust(shortest, "a")


def _in_base_36(n: int) -> str:
    digits = ""
    while n or not digits:
        n, digit = divmod(n, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


@lru_cache(maxsize=200)
def _pool(provider: str | None, seed: int) -> tuple[str, ...]:
    """Texts of one of Faker's providers; none without Faker."""
    faker = _faker(seed)
    if provider is None or faker is None:
        return ()
    make = getattr(faker, provider)
    return tuple(str(make()).replace("\n", ", ") for _ in range(_POOL))


def _faker(seed: int) -> Any:
    try:
        from faker import Faker
    except ImportError:
        return None
    faker = Faker("en_US", use_weighting=False)
    faker.seed_instance(seed)
    return faker
