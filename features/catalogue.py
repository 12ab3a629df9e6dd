"""Every session feature: its name, unit and meaning. A feature without an entry here does not exist (tested)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeatureEntry:
    """What a person needs to know to use a feature.

    Attributes:
        unit: What its number counts.
        meaning: In words a fraud analyst uses.
        neutral: Its value when nothing is known.
    """

    unit: str
    meaning: str
    neutral: float = 0.0


NO_GAP_SECONDS = 100_000.0
"""`session_gap_min_seconds` before there is a gap: far above any real one, so that a tree can tell them apart."""

NOT_KNOWN = -1.0
"""Features that compare with the user's normal, while none is known, and where there is nothing to compare."""

CATALOGUE: dict[str, FeatureEntry] = {
    "session_events": FeatureEntry("events", "Events of the session so far, this one included", 1.0),
    "session_page_views": FeatureEntry("events", "Pages opened"),
    "session_clicks": FeatureEntry("events", "Clicks"),
    "session_inputs": FeatureEntry("events", "Fields filled in"),
    "session_logins": FeatureEntry("events", "Successful logins"),
    "session_login_failures": FeatureEntry("events", "Failed logins"),
    "session_transfers": FeatureEntry("events", "Transfers"),
    "session_duration_seconds": FeatureEntry("seconds", "From the first event to the latest"),
    "session_gap_mean_seconds": FeatureEntry("seconds", "Mean pause between events"),
    "session_gap_std_seconds": FeatureEntry("seconds", "Spread of the pauses: near 0 is a machine's rhythm"),
    "session_gap_min_seconds": FeatureEntry("seconds", "Shortest pause", NO_GAP_SECONDS),
    "session_latency_mean_ms": FeatureEntry("milliseconds", "Mean reaction time of the page"),
    "session_latency_max_ms": FeatureEntry("milliseconds", "Longest reaction time of the page"),
    "session_distinct_pages": FeatureEntry("pages", "Different pages, up to 16", 1.0),
    "session_repeated_pages": FeatureEntry("events", "Events on the same page as the event before"),
    "session_ip_changes": FeatureEntry("events", "Times the network address changed"),
    "session_device_changes": FeatureEntry("events", "Times the device fingerprint changed"),
    "session_failure_ratio": FeatureEntry("ratio", "Share of failed logins among the events"),
    "session_transfer_ratio": FeatureEntry("ratio", "Share of transfers among the events"),
    "session_input_ratio": FeatureEntry("ratio", "Share of filled fields among the events"),
    "session_events_per_second": FeatureEntry("events per second", "Events over one second plus the duration", 1.0),
    "device_risk": FeatureEntry("score", "Risk of the device, 0 to 1, as Redis knew it at this event"),
    "account_locked": FeatureEntry("flag", "1 if the account was locked at this event"),
    "user_recent_failures": FeatureEntry("events", "The user's failed logins in the last hour, as Redis knew them"),
    "session_gap_log_spread": FeatureEntry(
        "doublings", "Spread of the pauses' logarithms: near 0 is a machine's rhythm"
    ),
    "session_equal_gap_ratio": FeatureEntry("ratio", "Share of pauses within 5 % of the pause before"),
    "session_quick_gap_ratio": FeatureEntry("ratio", "Share of pauses under 100 ms: quicker than hands"),
    "session_latency_log_spread": FeatureEntry("doublings", "Spread of the logarithms of the page's reaction times"),
    "session_recent_gap_rise": FeatureEntry("doublings", "By how much the last 5 pauses are longer than the session's"),
    "session_recent_latency_rise": FeatureEntry("doublings", "By how much the last 5 reaction times are longer"),
    "input_other_users": FeatureEntry("users", "Other users who typed this masked input in 24 h, up to 64"),
    "input_age_days": FeatureEntry("days", "Since this masked input was first typed by anybody, up to 30", NOT_KNOWN),
    "user_sessions": FeatureEntry("sessions", "Sessions that the user's normal was learned from"),
    "user_gap_distance": FeatureEntry("spreads", "How far pauses are from the user's own, step by step", NOT_KNOWN),
    "user_gap_shift": FeatureEntry(
        "doublings", "By how much pauses are longer than the user's own; shorter is negative"
    ),
    "user_latency_distance": FeatureEntry("spreads", "How far reaction times are from the user's own", NOT_KNOWN),
    "user_latency_shift": FeatureEntry("doublings", "By how much reaction times are longer than the user's own"),
    "user_step_surprise": FeatureEntry("bits", "How unusual the session's steps are for the user, an event", NOT_KNOWN),
    "user_new_step_ratio": FeatureEntry("ratio", "Share of steps that the user has never made", NOT_KNOWN),
    "user_recent_gap_distance": FeatureEntry("spreads", "The same of the last 5 pauses", NOT_KNOWN),
    "user_recent_gap_shift": FeatureEntry("doublings", "By how much the last 5 pauses are longer than the user's own"),
    "user_recent_latency_distance": FeatureEntry("spreads", "The same of the last 5 reaction times", NOT_KNOWN),
    "user_recent_latency_shift": FeatureEntry("doublings", "By how much the last 5 reaction times are longer"),
    "user_recent_step_surprise": FeatureEntry("bits", "How unusual the last 5 steps are for the user", NOT_KNOWN),
    "user_new_device": FeatureEntry("flag", "1 if the device is none of the user's last 8", NOT_KNOWN),
    "user_new_address": FeatureEntry("flag", "1 if the address is none of the user's last 8", NOT_KNOWN),
    "user_hour_share": FeatureEntry("ratio", "Share of the user's sessions that began near this hour", NOT_KNOWN),
    "user_idle_days": FeatureEntry("days", "Since the user's session before", NOT_KNOWN),
}

FROM_STORES = (
    *("device_risk", "account_locked", "input_other_users", "input_age_days"),
    *(name for name in CATALOGUE if name.startswith("user_")),
)
"""Features that have their neutral value while no store answers, and for users of whom nothing is known."""
