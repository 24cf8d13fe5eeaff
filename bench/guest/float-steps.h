/* One computation with 3 multiplications, 3 additions, a subtraction and a division, that stays finite. */
static inline u32 double_steps(u32 iterations) {
    double x = 0.5, y = 1.25, z = 3.0;
    while (iterations--) {
        x = x * 0.75 + y * 0.125;
        y = y * 0.5 + z;
        z = 2.0 - x / (y + 1.0);
    }
    union { double d; u32 w[2]; } bits = {x + y * z};
    return bits.w[0] ^ bits.w[1];
}
