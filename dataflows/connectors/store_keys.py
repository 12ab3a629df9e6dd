"""The Redis keys that the risk flow writes and the fraud flow looks up; `{}` stands for the name. Stored state."""

DEVICE_RISK = "risk:{}:score"
ACCOUNT_STATUS = "account:{}:status"
LOGIN_FAILURES = "user:{}:login_failures"
INPUT = "input:{}:users"
PROFILE = "profile:{}"
