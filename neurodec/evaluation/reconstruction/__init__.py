"""How alike pictures are: measures, the networks that judge, published protocols."""
