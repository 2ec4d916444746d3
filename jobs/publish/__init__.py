"""A release of a catalog: tables, boards, card, manifest and site, checked for what must not leave, and sent."""
