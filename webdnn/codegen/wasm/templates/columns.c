$# For `dot` tiles: the weights of one panel as [column][K], made again when another panel comes.
if (${"transposed != weights" if plain else 1}) {
  transposed = weights;
  for (int k = 0; k < K; k++)
    for (int n = 0; n < N; n++) columns[n * K + k] = ${element_of()};
}
