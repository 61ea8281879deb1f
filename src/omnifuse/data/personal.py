"""Columns that may hold personal data, told by their name and by the form of their cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from omnifuse.data.date import parse_date
from omnifuse.errors import InputError
from omnifuse.schema import Finding

_LONGEST_CELL = 200
_MOST_CELLS = 2_000
_FEWEST_CELLS = 3

_NAMES = {
    "names of persons": {
        "name", "first_name", "firstname", "last_name", "lastname", "surname", "full_name", "fullname", "given_name",
        "family_name", "patient_name", "customer_name", "person_name", "user_name", "username", "vorname", "nachname",
    },
    "birth dates": {"birth_date", "birthdate", "date_of_birth", "dob", "birthday", "geburtsdatum"},
    "e-mail addresses": {"email", "e_mail", "mail", "email_address"},
    "phone numbers": {"phone", "phone_number", "telephone", "mobile", "mobile_number", "telefon"},
    "bank accounts (IBAN)": {"iban", "account_number", "bank_account"},
    "social security numbers": {"ssn", "social_security_number", "national_id", "passport_number", "tax_id"},
    "IP addresses": {"ip", "ip_address", "client_ip", "remote_addr"},
    "street addresses": {"address", "street", "street_address", "home_address", "postal_address", "strasse"},
}  # fmt: skip

# Cells are cut to 200 characters and every repetition is bounded, so no pattern can take long
_EMAIL = re.compile(r"[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}")
_PHONE = re.compile(r"(?:\+\d|\(\d|\d)[\d ()/.-]{5,22}\d")
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_SOCIAL = re.compile(r"\d{3}-\d{2}-\d{4}")
_ADDRESS_4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_ADDRESS_6 = re.compile(r"(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{1,4}")
_STREET = re.compile(
    r"\b\d{1,5}\s[\w .'-]{2,40}\s(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|square|court)\b"
    r"|\w{2,40}(?:stra(?:ss|\u00df)e|str\.|weg|gasse|platz)\s\d{1,4}\b",
    re.IGNORECASE,
)


def personal_findings(column: str, cells: Sequence[Any], rows: Sequence[int] = ()) -> list[Finding]:
    """What personal data the column seems to hold.

    Args:
        column: Its name.
        cells: Its cells; None is missing. At most the first 2,000 known ones are looked at.
        rows: Up to 20 row numbers to show.

    Returns:
        One finding of kind "personal_data", or none.
    """
    known = [str(cell)[:_LONGEST_CELL].strip() for cell in cells if isinstance(cell, str | int)][:_MOST_CELLS]
    words = re.sub(r"[^a-z0-9]{1,9}", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column[:_LONGEST_CELL]).lower())
    what = next((kind for kind, names in _NAMES.items() if words.strip("_") in names), None)
    if what is None and len(known) >= _FEWEST_CELLS:
        what = next((kind for kind, is_one in _FORMS.items() if sum(map(is_one, known)) > len(known) / 2), None)
    if what is None:
        return []
    text = f"'{column}' seems to hold {what}: make sure that you may use it, or leave it out with --drop"
    return [Finding("personal_data", column, text, "info", tuple(rows)[:20])]


def _is_phone(text: str) -> bool:
    digits = sum(part.isdigit() for part in text)
    if not 7 <= digits <= 15 or not _PHONE.fullmatch(text) or _ADDRESS_4.fullmatch(text):
        return False
    # Plain numbers are counts or codes more often than phone numbers
    return (text[0] in "+(" or sum(part in " -/." for part in text) >= 2) and not _is_date(text)


def _is_date(text: str) -> bool:
    try:
        parse_date(text)
    except InputError:
        return False
    return True


def _is_iban(text: str) -> bool:
    bare = text.replace(" ", "").upper()
    if not _IBAN.fullmatch(bare):
        return False
    return int("".join(str(int(part, 36)) for part in bare[4:] + bare[:4])) % 97 == 1


def _is_ip(text: str) -> bool:
    if _ADDRESS_4.fullmatch(text):
        return all(int(part) <= 255 for part in text.split("."))
    return bool(_ADDRESS_6.fullmatch(text)) and not _is_date(text)


_FORMS: dict[str, Callable[[str], bool]] = {
    "e-mail addresses": lambda text: bool(_EMAIL.search(text)),
    "social security numbers": lambda text: bool(_SOCIAL.fullmatch(text)),
    "IP addresses": _is_ip,
    "bank accounts (IBAN)": _is_iban,
    "phone numbers": _is_phone,
    "street addresses": lambda text: bool(_STREET.search(text)),
}
