/** x87, MMX and SSE forms (Intel SDM vol. 2, appendix A, tables A-3 to A-22). */
import { type Form, forms } from "./form.ts";

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(2, "0");

const x87Arithmetic = ["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"]
  .map(
    (name, n) => `
    ${name} m32; D8 /${n}; mem m4
    ${name} st0,sti; D8 /${n}; reg
    ${name} m64; DC /${n}; mem m8
    ${name} sti,st0; DC /${n}; reg
    ${name} i32; DA /${n}; mem m4
    ${name} i16; DE /${n}; mem m2
    ${n === 3 ? "" : `${name}p; DE /${n}; reg`}`,
  )
  .join("\n");

const x87 = forms(
  "x87",
  "x87",
  `${x87Arithmetic}
  fcompp;      DE D9;
  fucompp;     DA E9;
  fcmovb;      DA /0; reg r:C
  fcmove;      DA /1; reg r:Z
  fcmovbe;     DA /2; reg r:CZ
  fcmovu;      DA /3; reg r:P
  fcmovnb;     DB /0; reg r:C
  fcmovne;     DB /1; reg r:Z
  fcmovnbe;    DB /2; reg r:CZ
  fcmovnu;     DB /3; reg r:P
  fucomi;      DB /5; reg w:OSZAPC
  fcomi;       DB /6; reg w:OSZAPC
  fucomip;     DF /5; reg w:OSZAPC
  fcomip;      DF /6; reg w:OSZAPC
  fucom;       DD /4; reg
  fucomp;      DD /5; reg
  fld sti;     D9 /0; reg
  fxch;        D9 /1; reg
  fxch4;       DD /1; reg
  fxch7;       DF /1; reg
  fstp1;       D9 /3; reg
  fst sti;     DD /2; reg
  fstp sti;    DD /3; reg
  fstp8;       DF /2; reg
  fstp9;       DF /3; reg
  ffree;       DD /0; reg
  ffreep;      DF /0; reg
  fld m32;     D9 /0; mem m4
  fst m32;     D9 /2; mem m4
  fstp m32;    D9 /3; mem m4
  fld m64;     DD /0; mem m8
  fst m64;     DD /2; mem m8
  fstp m64;    DD /3; mem m8
  fld m80;     DB /5; mem m10
  fstp m80;    DB /7; mem m10
  fild m16;    DF /0; mem m2
  fild m32;    DB /0; mem m4
  fild m64;    DF /5; mem m8
  fist m16;    DF /2; mem m2
  fistp m16;   DF /3; mem m2
  fist m32;    DB /2; mem m4
  fistp m32;   DB /3; mem m4
  fistp m64;   DF /7; mem m8
  fisttp m16;  DF /1; mem m2
  fisttp m32;  DB /1; mem m4
  fisttp m64;  DD /1; mem m8
  fbld;        DF /4; mem m10
  fbstp;       DF /6; mem m10
  fldcw;       D9 /5; mem m2 kind:fldcw
  fnstcw;      D9 /7; mem m2
  fnstsw m16;  DD /7; mem m2
  fnstsw ax;   DF E0; c:a
  fnclex;      DB E2;
  fninit;      DB E3;
  feni;        DB E0;
  fdisi;       DB E1;
  fsetpm;      DB E4;
  fwait;       9B;
  fnop;        D9 D0;
  fchs;        D9 E0;
  fabs;        D9 E1;
  ftst;        D9 E4;
  fxam;        D9 E5;
  fld1;        D9 E8;
  fldl2t;      D9 E9;
  fldl2e;      D9 EA;
  fldpi;       D9 EB;
  fldlg2;      D9 EC;
  fldln2;      D9 ED;
  fldz;        D9 EE;
  fxtract;     D9 F4;
  fprem1;      D9 F5;
  fdecstp;     D9 F6;
  fincstp;     D9 F7;
  fprem;       D9 F8;
  fsqrt;       D9 FA;
  frndint;     D9 FC;
  fscale;      D9 FD;
  f2xm1;       D9 F0; last near:x87
  fyl2x;       D9 F1; last near:x87
  fptan;       D9 F2; last near:x87
  fpatan;      D9 F3; last near:x87
  fyl2xp1;     D9 F9; last near:x87
  fsincos;     D9 FB; last near:x87
  fsin;        D9 FE; last near:x87
  fcos;        D9 FF; last near:x87
  fldenv;      D9 /4; mem m28 kind:fldenv
  frstor;      DD /4; mem m108 kind:frstor
  fnstenv;     D9 /6; mem m28 last kind:fnstenv
  fnsave;      DD /6; mem m108 last kind:fnsave
  `,
);

/** Opcodes that exist both for MMX registers (no prefix) and for XMM registers (66). */
const PACKED: Readonly<Record<number, string>> = {
  96: "punpcklbw",
  97: "punpcklwd",
  98: "punpckldq",
  99: "packsswb",
  100: "pcmpgtb",
  101: "pcmpgtw",
  102: "pcmpgtd",
  103: "packuswb",
  104: "punpckhbw",
  105: "punpckhwd",
  106: "punpckhdq",
  107: "packssdw",
  116: "pcmpeqb",
  117: "pcmpeqw",
  118: "pcmpeqd",
  209: "psrlw",
  210: "psrld",
  211: "psrlq",
  212: "paddq",
  213: "pmullw",
  216: "psubusb",
  217: "psubusw",
  218: "pminub",
  219: "pand",
  220: "paddusb",
  221: "paddusw",
  222: "pmaxub",
  223: "pandn",
  224: "pavgb",
  225: "psraw",
  226: "psrad",
  227: "pavgw",
  228: "pmulhuw",
  229: "pmulhw",
  232: "psubsb",
  233: "psubsw",
  234: "pminsw",
  235: "por",
  236: "paddsb",
  237: "paddsw",
  238: "pmaxsw",
  239: "pxor",
  241: "psllw",
  242: "pslld",
  243: "psllq",
  244: "pmuludq",
  245: "pmaddwd",
  246: "psadbw",
  248: "psubb",
  249: "psubw",
  250: "psubd",
  251: "psubq",
  252: "paddb",
  253: "paddw",
  254: "paddd",
};

const SSSE3 = ["pshufb", "phaddw", "phaddd", "phaddsw", "pmaddubsw", "phsubw", "phsubd", "phsubsw", "psignb", "psignw"];
const SSSE3_REST: readonly (readonly [number, string])[] = [
  [0x0a, "psignd"],
  [0x0b, "pmulhrsw"],
  [0x1c, "pabsb"],
  [0x1d, "pabsw"],
  [0x1e, "pabsd"],
];
const ssse3 = [...SSSE3.map((name, n) => [n, name] as const), ...SSSE3_REST];

const shiftGroups = (prefix: string): string =>
  [
    [0x71, 2, "psrlw"],
    [0x71, 4, "psraw"],
    [0x71, 6, "psllw"],
    [0x72, 2, "psrld"],
    [0x72, 4, "psrad"],
    [0x72, 6, "pslld"],
    [0x73, 2, "psrlq"],
    [0x73, 6, "psllq"],
  ]
    .map(([opcode, n, name]) => `${name} ib; ${prefix}0F ${hex(Number(opcode))} /${n} ib; reg`)
    .join("\n");

const mmx = forms(
  "mmx",
  "mmx",
  `${Object.entries(PACKED)
    .map(([opcode, name]) => `${name} mm; 0F ${hex(Number(opcode))} /r; m8`)
    .join("\n")}
  ${ssse3.map(([opcode, name]) => `${name} mm; 0F 38 ${hex(opcode)} /r; m8`).join("\n")}
  ${shiftGroups("")}
  palignr mm;      0F 3A 0F /r ib; m8
  movd mm,rm;      0F 6E /r;       y
  movd rm,mm;      0F 7E /r;       y g:rm
  movq mm,mmm;     0F 6F /r;       m8
  movq mmm,mm;     0F 7F /r;       m8
  pshufw;          0F 70 /r ib;    m8
  emms;            0F 77;
  pinsrw mm;       0F C4 /r ib;    m2
  pextrw mm;       0F C5 /r ib;    reg g:reg
  pmovmskb mm;     0F D7 /r;       reg g:reg
  movntq;          0F E7 /r;       mem m8
  maskmovq;        0F F7 /r;       reg
  movq2dq;         F3|0F D6 /r;    reg
  movdq2q;         F2|0F D6 /r;    reg
  cvtpi2ps;        0F 2A /r;       m8
  cvtpi2pd;        66|0F 2A /r;    m8
  cvttps2pi;       0F 2C /r;       m8
  cvttpd2pi;       66|0F 2C /r;    a16
  cvtps2pi;        0F 2D /r;       m8
  cvtpd2pi;        66|0F 2D /r;    a16
  `,
);

const simd = forms(
  "simd",
  "simd",
  `${Object.entries(PACKED)
    .map(([opcode, name]) => `${name} xmm; 66|0F ${hex(Number(opcode))} /r; a16`)
    .join("\n")}
  ${ssse3.map(([opcode, name]) => `${name} xmm; 66|0F 38 ${hex(opcode)} /r; a16`).join("\n")}
  ${shiftGroups("66|")}
  psrldq;          66|0F 73 /3 ib; reg
  pslldq;          66|0F 73 /7 ib; reg
  punpcklqdq;      66|0F 6C /r;    a16
  punpckhqdq;      66|0F 6D /r;    a16
  palignr xmm;     66|0F 3A 0F /r ib; a16
  movd xmm,rm;     66|0F 6E /r;    y
  movd rm,xmm;     66|0F 7E /r;    y g:rm
  movq xmm,xmmm;   F3|0F 7E /r;    m8
  movq xmmm,xmm;   66|0F D6 /r;    m8
  movdqa load;     66|0F 6F /r;    a16
  movdqa store;    66|0F 7F /r;    a16
  movdqu load;     F3|0F 6F /r;    m16
  movdqu store;    F3|0F 7F /r;    m16
  lddqu;           F2|0F F0 /r;    mem m16
  movntdq;         66|0F E7 /r;    mem a16
  maskmovdqu;      66|0F F7 /r;    reg
  pshufd;          66|0F 70 /r ib; a16
  pshufhw;         F3|0F 70 /r ib; a16
  pshuflw;         F2|0F 70 /r ib; a16
  pinsrw xmm;      66|0F C4 /r ib; m2
  pextrw xmm;      66|0F C5 /r ib; reg g:reg
  pmovmskb xmm;    66|0F D7 /r;    reg g:reg
  movups load;     0F 10 /r;       m16
  movups store;    0F 11 /r;       m16
  movupd load;     66|0F 10 /r;    m16
  movupd store;    66|0F 11 /r;    m16
  movss load;      F3|0F 10 /r;    m4
  movss store;     F3|0F 11 /r;    m4
  movsd load;      F2|0F 10 /r;    m8
  movsd store;     F2|0F 11 /r;    m8
  movlps load;     0F 12 /r;       m8
  movlpd load;     66|0F 12 /r;    mem m8
  movlps store;    0F 13 /r;       mem m8
  movlpd store;    66|0F 13 /r;    mem m8
  movsldup;        F3|0F 12 /r;    a16
  movddup;         F2|0F 12 /r;    m8
  movshdup;        F3|0F 16 /r;    a16
  unpcklps;        0F 14 /r;       a16
  unpcklpd;        66|0F 14 /r;    a16
  unpckhps;        0F 15 /r;       a16
  unpckhpd;        66|0F 15 /r;    a16
  movhps load;     0F 16 /r;       m8
  movhpd load;     66|0F 16 /r;    mem m8
  movhps store;    0F 17 /r;       mem m8
  movhpd store;    66|0F 17 /r;    mem m8
  movaps load;     0F 28 /r;       a16
  movaps store;    0F 29 /r;       a16
  movapd load;     66|0F 28 /r;    a16
  movapd store;    66|0F 29 /r;    a16
  movntps;         0F 2B /r;       mem a16
  movntpd;         66|0F 2B /r;    mem a16
  movmskps;        0F 50 /r;       reg g:reg
  movmskpd;        66|0F 50 /r;    reg g:reg
  andps;           0F 54 /r;       a16
  andpd;           66|0F 54 /r;    a16
  andnps;          0F 55 /r;       a16
  andnpd;          66|0F 55 /r;    a16
  orps;            0F 56 /r;       a16
  orpd;            66|0F 56 /r;    a16
  xorps;           0F 57 /r;       a16
  xorpd;           66|0F 57 /r;    a16
  shufps;          0F C6 /r ib;    a16
  shufpd;          66|0F C6 /r ib; a16
  lfence;          0F AE E8;
  mfence;          0F AE F0;
  sfence;          0F AE F8;
  clflush;         0F AE /7;       mem m1
  ldmxcsr;         0F AE /2;       mem m4 kind:ldmxcsr
  stmxcsr;         0F AE /3;       mem m4
  fxrstor;         0F AE /1;       mem a512 kind:fxrstor
  fxsave;          0F AE /0;       mem a512 last kind:fxsave
  `,
);

const FLOAT_ARITHMETIC: readonly (readonly [number, string, string])[] = [
  [0x51, "sqrt", ""],
  [0x58, "add", ""],
  [0x59, "mul", ""],
  [0x5c, "sub", ""],
  [0x5d, "min", ""],
  [0x5e, "div", ""],
  [0x5f, "max", ""],
  [0xc2, "cmp", " ib"],
];

const float = forms(
  "float",
  "float",
  `${FLOAT_ARITHMETIC.map(([opcode, name, immediate]) => {
    const kind = immediate === "" ? "" : "kind:predicate";
    return `
    ${name}ps; 0F ${hex(opcode)} /r${immediate}; a16 ${kind}
    ${name}pd; 66|0F ${hex(opcode)} /r${immediate}; a16 ${kind}
    ${name}ss; F3|0F ${hex(opcode)} /r${immediate}; m4 ${kind}
    ${name}sd; F2|0F ${hex(opcode)} /r${immediate}; m8 ${kind}`;
  }).join("\n")}
  cvtps2pd;     0F 5A /r;     m8
  cvtpd2ps;     66|0F 5A /r;  a16
  cvtss2sd;     F3|0F 5A /r;  m4
  cvtsd2ss;     F2|0F 5A /r;  m8
  cvtdq2ps;     0F 5B /r;     a16
  cvtps2dq;     66|0F 5B /r;  a16
  cvttps2dq;    F3|0F 5B /r;  a16
  cvtdq2pd;     F3|0F E6 /r;  m8
  cvtpd2dq;     F2|0F E6 /r;  a16
  cvttpd2dq;    66|0F E6 /r;  a16
  cvtsi2ss;     F3|0F 2A /r;  y
  cvtsi2sd;     F2|0F 2A /r;  y
  cvttss2si;    F3|0F 2C /r;  y g:reg m4
  cvttsd2si;    F2|0F 2C /r;  y g:reg m8
  cvtss2si;     F3|0F 2D /r;  y g:reg m4
  cvtsd2si;     F2|0F 2D /r;  y g:reg m8
  ucomiss;      0F 2E /r;     m4 w:OSZAPC
  ucomisd;      66|0F 2E /r;  m8 w:OSZAPC
  comiss;       0F 2F /r;     m4 w:OSZAPC
  comisd;       66|0F 2F /r;  m8 w:OSZAPC
  haddps;       F2|0F 7C /r;  a16
  haddpd;       66|0F 7C /r;  a16
  hsubps;       F2|0F 7D /r;  a16
  hsubpd;       66|0F 7D /r;  a16
  addsubps;     F2|0F D0 /r;  a16
  addsubpd;     66|0F D0 /r;  a16
  rsqrtps;      0F 52 /r;     a16 last near:single
  rsqrtss;      F3|0F 52 /r;  m4 last near:single
  rcpps;        0F 53 /r;     a16 last near:single
  rcpss;        F3|0F 53 /r;  m4 last near:single
  ldmxcsr;      0F AE /2;     mem m4 kind:ldmxcsr
  `,
);

export const floatForms: readonly Form[] = [...x87, ...mmx, ...simd, ...float];
