"""Model debugger for chest radiographs: finds, proves and repairs text-driven predictions."""
