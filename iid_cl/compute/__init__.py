"""How networks are trained and evaluated: number formats, compiled and recorded steps, devices."""
