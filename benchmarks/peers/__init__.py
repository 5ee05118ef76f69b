"""Ferry beside what people would pick instead, with the same models, kernels and answers. `ferry bench peers`."""
