"""What money is worth: the prices that requests are decided at, and how they follow the budgets."""
