"""Plain data: references, rules, images, accounts, outcomes."""
