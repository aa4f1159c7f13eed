"""What the routes do. Each handler takes the tenant and one call and gives an answer, or raises Refusal."""
