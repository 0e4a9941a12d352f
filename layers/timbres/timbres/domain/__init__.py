"""Values and rules of the trade. Nothing here knows AWS, HTTP or a PAC's wire format."""
