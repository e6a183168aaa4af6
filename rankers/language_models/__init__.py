"""Language models behind one small interface: on this machine, or at an endpoint."""
