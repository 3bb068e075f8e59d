"""How a model is fitted to a device: what each part takes, which way is chosen, and how it is put into effect."""
