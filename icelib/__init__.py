"""A reproducible companion of "Towards In-Distribution Compatible Out-of-Distribution Detection" (ICE, AAAI 2023)."""
