"""Random faults and chain changes under load, judged by captures of their own; docs/storm.md."""
