$# Where the 1st, 2nd ... K-th true element of each row of N is; N where there are fewer.
for (int row = begin; row < end; row++) {
  int count = 0;
  for (int i = 0; i < ${x0_1} && count < ${k}; i++)
    if (${read(0, f"row * {x0_1} + i")}) ${out0}[row * ${k} + count++] = i;
  for (; count < ${k}; count++) ${out0}[row * ${k} + count] = ${x0_1};
}
