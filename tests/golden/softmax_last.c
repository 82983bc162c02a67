// max_sub_exp_sum_div softmax_last.Softmax1
OV void max_sub_exp_sum_div_afe11814e7_(const float* restrict b0, float* restrict b1, const int* restrict p, int begin, int end, char* restrict scratch) {
  const int p0 = p[0];
  const int p1 = p[1];
  int i0 = begin;
  for (int item = begin; item < end; item++) {
    float a0_0 = -INF;
    f4 v0_0_0 = S(-INF);
    f4 v0_0_1 = S(-INF);
    f4 v0_0_2 = S(-INF);
    f4 v0_0_3 = S(-INF);
    const int t0 = i0 * p1;
    {
      int r0 = 0;
      for (; r0 + 16 <= p1; r0 += 16) {
        v0_0_0 = vmax(v0_0_0, LD(b0 + t0 + r0));
        v0_0_1 = vmax(v0_0_1, LD(b0 + t0 + (r0 + 4)));
        v0_0_2 = vmax(v0_0_2, LD(b0 + t0 + (r0 + 8)));
        v0_0_3 = vmax(v0_0_3, LD(b0 + t0 + (r0 + 12)));
      }
      for (; r0 + 4 <= p1; r0 += 4) {
        v0_0_0 = vmax(v0_0_0, LD(b0 + t0 + r0));
      }
      for (; r0 < p1; r0++) {
        a0_0 = vmax(a0_0, b0[t0 + r0]);
      }
    }
    v0_0_0 = vmax(v0_0_0, v0_0_1);
    v0_0_0 = vmax(v0_0_0, v0_0_2);
    v0_0_0 = vmax(v0_0_0, v0_0_3);
    a0_0 = vmax(a0_0, v0_0_0[0]);
    a0_0 = vmax(a0_0, v0_0_0[1]);
    a0_0 = vmax(a0_0, v0_0_0[2]);
    a0_0 = vmax(a0_0, v0_0_0[3]);
    float a1_0 = 0.0f;
    f4 v1_0_0 = S(0.0f);
    f4 v1_0_1 = S(0.0f);
    f4 v1_0_2 = S(0.0f);
    f4 v1_0_3 = S(0.0f);
    {
      int r0 = 0;
      for (; r0 + 16 <= p1; r0 += 16) {
        const f4 t1 = vexp((LD(b0 + t0 + r0) - S(a0_0)));
        v1_0_0 = v1_0_0 + t1;
        ST(b1 + t0 + r0, t1);
        const f4 t2 = vexp((LD(b0 + t0 + (r0 + 4)) - S(a0_0)));
        v1_0_1 = v1_0_1 + t2;
        ST(b1 + t0 + (r0 + 4), t2);
        const f4 t3 = vexp((LD(b0 + t0 + (r0 + 8)) - S(a0_0)));
        v1_0_2 = v1_0_2 + t3;
        ST(b1 + t0 + (r0 + 8), t3);
        const f4 t4 = vexp((LD(b0 + t0 + (r0 + 12)) - S(a0_0)));
        v1_0_3 = v1_0_3 + t4;
        ST(b1 + t0 + (r0 + 12), t4);
      }
      for (; r0 + 4 <= p1; r0 += 4) {
        const f4 t5 = vexp((LD(b0 + t0 + r0) - S(a0_0)));
        v1_0_0 = v1_0_0 + t5;
        ST(b1 + t0 + r0, t5);
      }
      for (; r0 < p1; r0++) {
        const float t6 = vexp((b0[t0 + r0] - a0_0));
        a1_0 = a1_0 + t6;
        b1[t0 + r0] = t6;
      }
    }
    v1_0_0 = v1_0_0 + v1_0_1;
    v1_0_0 = v1_0_0 + v1_0_2;
    v1_0_0 = v1_0_0 + v1_0_3;
    a1_0 = a1_0 + v1_0_0[0];
    a1_0 = a1_0 + v1_0_0[1];
    a1_0 = a1_0 + v1_0_0[2];
    a1_0 = a1_0 + v1_0_0[3];
    {
      int r0 = 0;
      for (; r0 + 4 <= p1; r0 += 4) {
        ST(b1 + t0 + r0, (LD(b1 + t0 + r0) / S(a1_0)));
      }
      for (; r0 < p1; r0++) {
        b1[t0 + r0] = (b1[t0 + r0] / a1_0);
      }
    }
    i0++;
  }
}
__attribute__((weak)) void max_sub_exp_sum_div_afe11814e7(void* const* buffers, const int* p, int begin, int end, char* scratch) {
  max_sub_exp_sum_div_afe11814e7_(buffers[0], buffers[1], p, begin, end, scratch);
}
