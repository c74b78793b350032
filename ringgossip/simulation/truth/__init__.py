"""Do published experiments come out as published, of the very machines that production runs?

`epidemics`, `detection`, `lifeguard` and `broadcast` each drive the machines of
`protocol` through one family of experiments, with the parameters of the paper;
`studies` reads `simulations/truth/*.yaml`, which say what is run and what was
published; `table` judges and prints; `running` brings them together.
"""
