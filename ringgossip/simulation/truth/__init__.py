"""Do published experiments come out as published, of the very machines that production runs?

`epidemics` drives the rumor machine through one family of experiments, with the
parameters of the paper; another family is another module beside it. `studies`
reads `simulations/truth/*.yaml`, which say what is run and what was published;
`table` judges and prints; `running` brings them together.
"""
