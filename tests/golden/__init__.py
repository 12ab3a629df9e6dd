"""State as releases have written it: what lies in banks' recovery stores, and must still be read."""
