"""What tenant and control plane say to each other: answers as the stub must give them, decoded as the tenant decodes them."""
