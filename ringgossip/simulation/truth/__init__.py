"""Do published experiments come out as published, of the very machines that production runs?

Each family of experiments is a module, which sets the parameters of the paper:
`epidemics` (Demers) drives the rumor machine, `swim` and `lifeguard` drive
membership. Another family is another module beside them. `studies` reads
`simulations/truth/*.yaml`, which say what is run and what was published; `table`
judges and prints; `running` brings them together.
"""
