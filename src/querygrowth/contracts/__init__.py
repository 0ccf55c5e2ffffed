"""What an action may send: contracts, limits by table, allowances and budgets."""
