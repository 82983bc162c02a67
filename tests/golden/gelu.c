// gelu gelu.Gelu1
OV void gelu_fc4f0c60aa_(const float* restrict b0, float* restrict b1, const int* restrict p, int begin, int end, char* restrict scratch) {
  const int p0 = p[0];
  for (int item = begin; item < end; item++) {
    {
      int i0 = 0;
      for (; i0 + 16 <= p0; i0 += 16) {
        const f4 t0 = LD(b0 + i0);
        ST(b1 + i0, ((t0 * S(0.5f)) * (verf((t0 * S(0.707106769f))) + S(1.0f))));
        const f4 t1 = LD(b0 + (i0 + 4));
        ST(b1 + (i0 + 4), ((t1 * S(0.5f)) * (verf((t1 * S(0.707106769f))) + S(1.0f))));
        const f4 t2 = LD(b0 + (i0 + 8));
        ST(b1 + (i0 + 8), ((t2 * S(0.5f)) * (verf((t2 * S(0.707106769f))) + S(1.0f))));
        const f4 t3 = LD(b0 + (i0 + 12));
        ST(b1 + (i0 + 12), ((t3 * S(0.5f)) * (verf((t3 * S(0.707106769f))) + S(1.0f))));
      }
      for (; i0 + 4 <= p0; i0 += 4) {
        const f4 t4 = LD(b0 + i0);
        ST(b1 + i0, ((t4 * S(0.5f)) * (verf((t4 * S(0.707106769f))) + S(1.0f))));
      }
      for (; i0 < p0; i0++) {
        const float t5 = b0[i0];
        b1[i0] = ((t5 * 0.5f) * (verf((t5 * 0.707106769f)) + 1.0f));
      }
    }
  }
}
__attribute__((weak)) void gelu_fc4f0c60aa(void* const* buffers, const int* p, int begin, int end, char* scratch) {
  gelu_fc4f0c60aa_(buffers[0], buffers[1], p, begin, end, scratch);
}
