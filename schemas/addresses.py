"""Internet addresses in one normal form, so that equal addresses are equal strings; what is none becomes null."""

import re
from ipaddress import IPv6Address, ip_address

MAX_ADDRESS_BYTES = 45
"""The longest way to write an address: IPv6 with its last 32 bits in dotted form."""

_MAX_REMEMBERED = 65_536
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}").fullmatch


class _Remembered(dict[str, str | None]):
    """Normal forms by what was received: parsing takes 50 times as long as a look-up."""

    def __missing__(self, text: str) -> str | None:
        self[text] = normal = normal_address(text)
        return normal


_remembered = _Remembered()


def normal_addresses(texts: list[str]) -> list[str | None]:
    """Return the normal form of each text; none is longer than `MAX_ADDRESS_BYTES`, so that memory is bounded."""
    if len(_remembered) > _MAX_REMEMBERED:
        _remembered.clear()
    return list(map(_remembered.__getitem__, texts))


def normal_address(text: str) -> str | None:
    """Return the normal form of an address, or None for anything else.

    IPv6 is compressed and in lower case; IPv4 mapped into IPv6 becomes IPv4; an address with a zone is not one, since
    the zone means something only on the client.

    >>> normal_address("2001:DB8:0::1"), normal_address("::ffff:192.0.2.7"), normal_address("fe80::1%eth0")
    ('2001:db8::1', '192.0.2.7', None)
    """
    if _IPV4(text):
        return text  # in normal form already, which the parser takes 20 times as long to find
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        address = address.ipv4_mapped or address
    return str(address)
