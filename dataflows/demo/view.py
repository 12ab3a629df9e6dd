"""What the demo shows, as text: a snapshot becomes a screen, or one line where there is no terminal. Pure: no I/O."""

from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dataflows.demo.figures import QUANTILES, Figures, Flag, Histogram, PageTable

_WIDE = 120
"""Columns from which pages stand beside the flags and not below them."""
_FIXED_LINES = {True: 9, False: 12}
"""Lines that are not rows of flags or pages, by whether it is wide; addresses come on top."""
_ROWS = (3, 20)
_REASONS = 3
_LEVEL_STYLES = {"review": "yellow", "block": "bold red"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything on the screen at one moment.

    Attributes:
        phase: What is going on, in a word or two.
        seconds: Since the first event was scored.
        latency: Of the last seconds.
        flags: Newest first.
        flag_count: All flags of this run, also those not shown any more.
        addresses: Names and addresses of what one can look at.
    """

    phase: str
    seconds: float = 0.0
    figures: Figures = field(default_factory=Figures)
    events_per_second: float = 0.0
    latency: Histogram = field(default_factory=Histogram)
    flags: tuple[Flag, ...] = ()
    flag_count: int = 0
    pages: PageTable = field(default_factory=PageTable)
    addresses: tuple[tuple[str, str], ...] = ()


def screen(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """Draw a snapshot for a terminal of this size."""
    is_wide = width >= _WIDE
    room = height - _FIXED_LINES[is_wide] - len(snapshot.addresses)
    rows = min(max(room if is_wide else room // 2, _ROWS[0]), _ROWS[1])
    flags, pages = _flags(snapshot, rows), _pages(snapshot.pages, rows)
    lists: RenderableType = Group(flags, pages)
    if is_wide:
        beside = Table.grid(expand=True)
        beside.add_column(ratio=3)
        beside.add_column(ratio=2)
        beside.add_row(flags, pages)
        lists = beside
    return Group(_head(snapshot), lists, _addresses(snapshot.addresses))


def status_line(snapshot: Snapshot) -> str:
    """Say the same in one line, for a log."""
    figures = snapshot.figures
    return (
        f"{snapshot.phase} {snapshot.seconds:.0f} s: {figures.events} events ({snapshot.events_per_second:.1f}/s), "
        f"lag {figures.lag}, flags {snapshot.flag_count}, latency {_latency(snapshot.latency)}, "
        f"dead letters {figures.dead}, duplicates {figures.duplicates}, late {figures.late}, "
        f"live sessions {figures.live_sessions}"
    )


def flag_line(flag: Flag) -> str:
    """Say a flag in one line."""
    return f"flag {flag.level} {flag.score:.3f} session {flag.session}: {_reasons(flag)}"


def _latency(histogram: Histogram) -> str:
    return " ".join(f"p{percent} {1000 * histogram.percentile(percent):.1f} ms" for percent in QUANTILES)


def _reasons(flag: Flag) -> str:
    return ", ".join(flag.reasons[:_REASONS]) or "no single reason"


def _codes(flag: Flag) -> str:
    return ", ".join(reason.partition(" ")[0] for reason in flag.reasons[:_REASONS])


def _head(snapshot: Snapshot) -> Panel:
    figures = snapshot.figures
    grid = Table.grid(expand=True, padding=(0, 1))
    for _ in range(4):
        grid.add_column(ratio=1)
    numbers = (
        ("events/s", f"{snapshot.events_per_second:.1f}"),
        ("lag", str(figures.lag)),
        ("flags", str(snapshot.flag_count)),
        ("live sessions", str(figures.live_sessions)),
        ("events", str(figures.events)),
        ("dead letters", str(figures.dead)),
        ("duplicates", str(figures.duplicates)),
        ("late", str(figures.late)),
        *((f"p{percent}", f"{1000 * snapshot.latency.percentile(percent):.1f} ms") for percent in QUANTILES),
        ("running", f"{snapshot.seconds:.0f} s"),
    )
    cells = [Text.assemble((f"{name} ", "dim"), (value, "bold")) for name, value in numbers]
    for at in range(0, len(cells), 4):
        grid.add_row(*cells[at : at + 4])
    return Panel(grid, title=f"clickstream-fraud: {snapshot.phase}", title_align="left")


def _flags(snapshot: Snapshot, rows: int) -> Panel:
    table = Table(box=None, expand=True, header_style="dim")
    table.add_column("session", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("top reasons", no_wrap=True, overflow="ellipsis", ratio=1)
    for flag in snapshot.flags[:rows]:
        style = _LEVEL_STYLES.get(flag.level, "")
        table.add_row(Text(flag.session), f"{flag.score:.3f}", Text(flag.level, style), Text(_codes(flag)))
    return Panel(table, title="flags, newest first", title_align="left")


def _pages(pages: PageTable, rows: int) -> Panel:
    table = Table(box=None, expand=True, header_style="dim")
    table.add_column("page", no_wrap=True, overflow="ellipsis", ratio=1)
    for minute in pages.minutes:
        table.add_column(minute, justify="right", no_wrap=True)
    for page, counts in pages.rows[:rows]:
        table.add_row(Text(page), *map(str, counts))
    return Panel(table, title="events by page and minute (UTC)", title_align="left")


def _addresses(addresses: tuple[tuple[str, str], ...]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for name, address in addresses:
        grid.add_row(Text(name), Text(address))
    return grid
