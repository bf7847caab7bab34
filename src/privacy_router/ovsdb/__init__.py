"""Open vSwitch's database: what bridge and ports there are, and what they should be."""
