"""Values and rules, without AWS, HTTP or a PAC's wire format."""
