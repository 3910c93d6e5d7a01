"""Every address for people who are known.

Add here: the address of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sonar_access_pipeline.page.asking import Handler
from sonar_access_pipeline.page.overseeing import connections, follow_up, home, packet, packets
from sonar_access_pipeline.page.reviewing import (
    acknowledge,
    assign,
    close,
    decide,
    earlier,
    following,
    item,
    items,
    keep_several,
    note,
    owner,
    sign,
    sign_page,
)


@dataclass(frozen=True)
class Route:
    """An address: by which method it is asked, what answers, and what the record says of it."""

    method: str
    path: str
    handler: Handler
    what: str


ROUTES: Sequence[Route] = (
    Route("GET", "/", home, "saw reviews"),
    Route("GET", "/follow-up", follow_up, "saw follow-ups"),
    Route("GET", "/connections", connections, "saw connections"),
    Route("GET", "/packets", packets, "saw packets"),
    Route("GET", "/packets/{digest}", packet, "saw a packet"),
    Route("GET", "/packets/{digest}/{name}", packet, "got a file of a packet"),
    Route("GET", "/r/{review}", items, "saw items"),
    Route("POST", "/r/{review}/several", keep_several, "kept several"),
    Route("GET", "/r/{review}/sign", sign_page, "saw the read-back"),
    Route("POST", "/r/{review}/sign", sign, "signed"),
    Route("GET", "/r/{review}/owner", owner, "saw how far it is"),
    Route("POST", "/r/{review}/acknowledge", acknowledge, "acknowledged"),
    Route("POST", "/r/{review}/close", close, "closed incomplete"),
    Route("GET", "/r/{review}/{item}", item, "saw an item"),
    Route("POST", "/r/{review}/{item}", decide, "decided"),
    Route("GET", "/r/{review}/{item}/next", following, "went on"),
    Route("GET", "/r/{review}/{item}/previous", earlier, "went back"),
    Route("POST", "/r/{review}/{item}/assign", assign, "assigned"),
    Route("POST", "/r/{review}/{item}/note", note, "noted"),
)
"""Every address for people who are known, in the order in which they are tried."""
