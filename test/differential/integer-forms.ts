import { type Form, forms } from "./form.ts";

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(2, "0");

/** Intel SDM vol. 2: AND, OR, XOR and TEST leave AF undefined; the others define all six. */
const arithmetic = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"]
  .map((name, n) => {
    const logic = ["or", "and", "xor"].includes(name);
    const flags = `w:OSZAPC ${logic ? "u:A" : ""} ${name === "adc" || name === "sbb" ? "r:C" : ""}`;
    const lock = name === "cmp" ? "" : "lock";
    const rm = name === "cmp" ? "g:none" : "g:rm";
    const reg = name === "cmp" ? "g:none" : "g:reg";
    const op = n * 8;
    return `
      ${name} rm8,r8;    ${hex(op)} /r;        b ${lock} ${rm} ${flags}
      ${name} rm,r;      ${hex(op + 1)} /r;    v ${lock} ${rm} ${flags}
      ${name} r8,rm8;    ${hex(op + 2)} /r;    b ${reg} ${flags}
      ${name} r,rm;      ${hex(op + 3)} /r;    v ${reg} ${flags}
      ${name} al,ib;     ${hex(op + 4)} ib;    b c:a ${flags}
      ${name} ax,iz;     ${hex(op + 5)} iz;    v c:a ${flags}
      ${name} rm8,ib;    80 /${n} ib;          b ${lock} ${rm} ${flags}
      ${name} rm,iz;     81 /${n} iz;          v ${lock} ${rm} ${flags}
      ${name} rm8,ib 82; 82 /${n} ib;          b x32 ${lock} ${rm} ${flags}
      ${name} rm,ib;     83 /${n} ib;          v ${lock} ${rm} ${flags}`;
  })
  .join("\n");

const alu = forms(
  "integer",
  "alu",
  `${arithmetic}
  test rm8,r8;  84 /r;     b g:none w:OSZAPC u:A
  test rm,r;    85 /r;     v g:none w:OSZAPC u:A
  test al,ib;   A8 ib;     b g:none w:OSZAPC u:A
  test ax,iz;   A9 iz;     v g:none w:OSZAPC u:A
  test rm8,ib;  F6 /0 ib;  b g:none w:OSZAPC u:A
  test rm8,ib'; F6 /1 ib;  b g:none w:OSZAPC u:A
  test rm,iz;   F7 /0 iz;  v g:none w:OSZAPC u:A
  test rm,iz';  F7 /1 iz;  v g:none w:OSZAPC u:A
  inc rm8;      FE /0;     b lock w:OSZAP
  dec rm8;      FE /1;     b lock w:OSZAP
  inc rm;       FF /0;     v lock w:OSZAP
  dec rm;       FF /1;     v lock w:OSZAP
  inc r;        40 +r;     v x32 w:OSZAP
  dec r;        48 +r;     v x32 w:OSZAP
  not rm8;      F6 /2;     b lock
  not rm;       F7 /2;     v lock
  neg rm8;      F6 /3;     b lock w:OSZAPC
  neg rm;       F7 /3;     v lock w:OSZAPC
  `,
);

const shiftLines = ["rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"]
  .map((name, n) => {
    const kind = n < 4 ? "kind:rotate" : "kind:shift";
    const read = name === "rcl" || name === "rcr" ? "r:C" : "";
    return `
      ${name} rm8,ib; C0 /${n} ib; b g:rm ${kind} ${read}
      ${name} rm,ib;  C1 /${n} ib; v g:rm ${kind} ${read}
      ${name} rm8,1;  D0 /${n};    b g:rm ${kind} ${read}
      ${name} rm,1;   D1 /${n};    v g:rm ${kind} ${read}
      ${name} rm8,cl; D2 /${n};    b g:rm ${kind} ${read}
      ${name} rm,cl;  D3 /${n};    v g:rm ${kind} ${read}`;
  })
  .join("\n");

const shifts = forms(
  "integer",
  "shift",
  `${shiftLines}
  shld rm,r,ib; 0F A4 /r ib; v g:rm kind:double
  shld rm,r,cl; 0F A5 /r;    v g:rm kind:double
  shrd rm,r,ib; 0F AC /r ib; v g:rm kind:double
  shrd rm,r,cl; 0F AD /r;    v g:rm kind:double
  `,
);

const multiply = forms(
  "integer",
  "multiply",
  `
  mul rm8;       F6 /4;      b g:none c:a w:OC u:SZAP
  mul rm;        F7 /4;      v g:none c:ad w:OC u:SZAP
  imul rm8;      F6 /5;      b g:none c:a w:OC u:SZAP
  imul rm;       F7 /5;      v g:none c:ad w:OC u:SZAP
  imul r,rm;     0F AF /r;   v g:reg w:OC u:SZAP
  imul r,rm,iz;  69 /r iz;   v g:reg w:OC u:SZAP
  imul r,rm,ib;  6B /r ib;   v g:reg w:OC u:SZAP
  div rm8;       F6 /6;      b g:none c:a u:OSZAPC kind:divide
  div rm;        F7 /6;      v g:none c:ad u:OSZAPC kind:divide
  idiv rm8;      F6 /7;      b g:none c:a u:OSZAPC kind:divide
  idiv rm;       F7 /7;      v g:none c:ad u:OSZAPC kind:divide
  cbw;           98;         v c:a
  cwd;           99;         v c:d
  aam;           D4 ib;      x32 c:a w:SZP u:OAC
  aad;           D5 ib;      x32 c:a w:SZP u:OAC
  daa;           27;         x32 c:a r:AC w:SZAPC u:O
  das;           2F;         x32 c:a r:AC w:SZAPC u:O
  aaa;           37;         x32 c:a r:A w:AC u:OSZP
  aas;           3F;         x32 c:a r:A w:AC u:OSZP
  `,
);

/** Intel SDM vol. 2, BT: OF, SF, AF, PF undefined; BSF, BSR: all but ZF undefined; POPCNT clears all but ZF. */
const bits = forms(
  "integer",
  "bit",
  `
  bt rm,r;    0F A3 /r;    v g:none w:C u:OSAP kind:bitoffset
  bts rm,r;   0F AB /r;    v g:rm lock w:C u:OSAP kind:bitoffset
  btr rm,r;   0F B3 /r;    v g:rm lock w:C u:OSAP kind:bitoffset
  btc rm,r;   0F BB /r;    v g:rm lock w:C u:OSAP kind:bitoffset
  bt rm,ib;   0F BA /4 ib; v g:none w:C u:OSAP
  bts rm,ib;  0F BA /5 ib; v lock w:C u:OSAP
  btr rm,ib;  0F BA /6 ib; v lock w:C u:OSAP
  btc rm,ib;  0F BA /7 ib; v lock w:C u:OSAP
  bsf r,rm;   0F BC /r;    v g:reg norep w:Z u:OSAPC
  bsr r,rm;   0F BD /r;    v g:reg norep w:Z u:OSAPC
  popcnt;     F3|0F B8 /r; v g:reg w:OSZAPC
  bswap;      0F C8 +r;    y
  `,
);

const CONDITION_FLAGS = ["O", "C", "Z", "CZ", "S", "P", "SO", "ZSO"];
const conditional = Array.from({ length: 16 }, (_, n) => {
  const read = `r:${CONDITION_FLAGS[n >> 1]}`;
  return `
    cmov${hex(n)};  0F ${hex(0x40 + n)} /r; v g:reg ${read}
    setcc${hex(n)}; 0F ${hex(0x90 + n)} /0; b g:rm ${read}`;
}).join("\n");

const moves = forms(
  "integer",
  "move",
  `${conditional}
  mov rm8,r8;   88 /r;     b g:rm
  mov rm,r;     89 /r;     v g:rm
  mov r8,rm8;   8A /r;     b g:reg
  mov r,rm;     8B /r;     v g:reg
  mov rm8,ib;   C6 /0 ib;  b
  mov rm,iz;    C7 /0 iz;  v
  mov r8,ib;    B0 +r ib;  b
  mov r,iv;     B8 +r iv;  v
  mov al,mo;    A0 io;     b c:a kind:offset
  mov ax,mo;    A1 io;     v c:a kind:offset
  mov mo,al;    A2 io;     b kind:offset
  mov mo,ax;    A3 io;     v kind:offset
  movzx r,rm8;  0F B6 /r;  v g:reg m1
  movzx r,rm16; 0F B7 /r;  v g:reg m2
  movsx r,rm8;  0F BE /r;  v g:reg m1
  movsx r,rm16; 0F BF /r;  v g:reg m2
  movsxd;       63 /r;     v x64 g:reg m4
  lea;          8D /r;     v mem g:reg
  mov rm,es;    8C /0;     v g:rm m2
  mov rm,cs;    8C /1;     v g:rm m2
  mov rm,ss;    8C /2;     v g:rm m2
  mov rm,ds;    8C /3;     v g:rm m2
  mov rm,fs;    8C /4;     v g:rm m2
  mov rm,gs;    8C /5;     v g:rm m2
  xchg rm8,r8;  86 /r;     b lock
  xchg rm,r;    87 /r;     v lock
  xchg ax,r;    90 +r;     v c:a norep
  cmpxchg8;     0F B0 /r;  b lock g:rm c:a w:OSZAPC kind:compare
  cmpxchg;      0F B1 /r;  v lock g:rm c:a w:OSZAPC kind:compare
  xadd8;        0F C0 /r;  b lock w:OSZAPC
  xadd;         0F C1 /r;  v lock w:OSZAPC
  cmpxchg8b;    0F C7 /1;  m8 mem lock g:none c:ad w:Z norep kind:compare
  cmpxchg16b;   0F C7 /1;  a16 W x64 mem lock g:none c:ad w:Z norep kind:compare
  movnti;       0F C3 /r;  y mem g:none
  xlat;         D7;        c:a
  lahf;         9F;        c:a r:SZAPC
  sahf;         9E;        w:SZAPC
  salc;         D6;        x32 c:a r:C
  clc;          F8;        w:C
  stc;          F9;        w:C
  cmc;          F5;        r:C w:C
  cld;          FC;        w:D
  std;          FD;        w:D
  `,
);

const stack = forms(
  "integer",
  "stack",
  `
  push r;    50 +r;     q g:none c:s
  pop r;     58 +r;     q c:s
  push rm;   FF /6;     q g:none c:s
  pop rm;    8F /0;     q g:rm c:s
  push iz;   68 iz;     q c:s
  push ib;   6A ib;     q c:s
  pusha;     60;        q x32 c:s
  popa;      61;        q x32 c:acdbspij
  pushf;     9C;        q c:s r:OSZAPCD
  popf;      9D;        q c:s w:OSZAPCD kind:popf
  enter;     C8 iw ib;  q c:sp kind:enter
  leave;     C9;        q c:sp
  push es;   06;        q x32 c:s
  push cs;   0E;        q x32 c:s
  push ss;   16;        q x32 c:s
  push ds;   1E;        q x32 c:s
  push fs;   0F A0;     q c:s
  push gs;   0F A8;     q c:s
  `,
);

const strings = forms(
  "integer",
  "string",
  `
  movsb; A4; b c:cij rep
  movsv; A5; v c:cij rep
  cmpsb; A6; b c:cij repz w:OSZAPC kind:strflags
  cmpsv; A7; v c:cij repz w:OSZAPC kind:strflags
  stosb; AA; b c:cj rep
  stosv; AB; v c:cj rep
  lodsb; AC; b c:aci rep
  lodsv; AD; v c:aci rep
  scasb; AE; b c:cj repz w:OSZAPC kind:strflags
  scasv; AF; v c:cj repz w:OSZAPC kind:strflags
  `,
);

const branches = Array.from({ length: 16 }, (_, n) => {
  const read = `r:${CONDITION_FLAGS[n >> 1]}`;
  return `
    jcc${hex(n)} short; ${hex(0x70 + n)} cb;    ${read} kind:branch
    jcc${hex(n)} near;  0F ${hex(0x80 + n)} cz; ${read} kind:branch`;
}).join("\n");

const flow = forms(
  "integer",
  "flow",
  `${branches}
  jmp short;  EB cb;   kind:branch
  jmp near;   E9 cz;   kind:branch
  loopne;     E0 cb;   c:c r:Z kind:branch
  loope;      E1 cb;   c:c r:Z kind:branch
  loop;       E2 cb;   c:c kind:branch
  jcxz;       E3 cb;   kind:branch
  call near;  E8 cz;   c:s kind:branch
  ret;        C3;      c:s kind:ret
  ret iw;     C2 iw;   c:s kind:ret
  jmp rm;     FF /4;   q g:none kind:indirect
  call rm;    FF /2;   q g:none c:s kind:indirect
  retf;       CB;      c:s kind:farret
  iret;       CF;      c:s r:OSZAPCD kind:iret
  jmp far;    EA;      x32 kind:farjump
  call far;   9A;      x32 c:s kind:farjump
  bound;      62 /r;   v x32 mem g:none
  into;       CE;      x32 r:O
  `,
);

/** Selectors of the local table; the processors agree on its contents. */
const segments = forms(
  "integer",
  "segment",
  `
  mov es,rm;   8E /0;    x32 m2 g:none kind:selector
  mov cs,rm;   8E /1;    x32 m2 g:none kind:selector
  mov ss,rm;   8E /2;    x32 m2 g:none kind:selector
  mov ds,rm;   8E /3;    x32 m2 g:none kind:selector
  mov fs,rm;   8E /4;    x32 m2 g:none kind:selector
  mov gs,rm;   8E /5;    x32 m2 g:none kind:selector
  pop es;      07;       q x32 c:s kind:popsegment
  pop ss;      17;       q x32 c:s kind:popsegment
  pop ds;      1F;       q x32 c:s kind:popsegment
  pop fs;      0F A1;    q x32 c:s kind:popsegment
  pop gs;      0F A9;    q x32 c:s kind:popsegment
  les;         C4 /r;    v x32 mem m6 g:reg kind:farpointer
  lds;         C5 /r;    v x32 mem m6 g:reg kind:farpointer
  lss;         0F B2 /r; v x32 mem m6 g:reg kind:farpointer norep
  lfs;         0F B4 /r; v x32 mem m6 g:reg kind:farpointer norep
  lgs;         0F B5 /r; v x32 mem m6 g:reg kind:farpointer norep
  lar;         0F 02 /r; v x32 m2 g:reg w:Z kind:selector norep
  lsl;         0F 03 /r; v x32 m2 g:reg w:Z kind:selector norep
  verr;        0F 00 /4; x32 m2 g:none w:Z kind:selector norep
  verw;        0F 00 /5; x32 m2 g:none w:Z kind:selector norep
  arpl;        63 /r;    x32 m2 g:rm w:Z
  `,
);

/** What user mode may not do, or nobody can, and what does nothing. CR0.UMIP and ports: see the native runner's system. */
const other = forms(
  "integer",
  "other",
  `
  nop;          90;
  pause;        F3|90;
  nop rm;       0F 1F /0;     v g:none
  prefetch;     0F 18 /1;     mem
  int n;        CD ib;        kind:int
  int3;         CC;
  icebp;        F1;
  ud2;          0F 0B;
  ud1;          0F B9 /r;     g:none
  hlt;          F4;
  cli;          FA;
  sti;          FB;
  in al,ib;     E4 ib;
  in ax,ib;     E5 ib;        v
  out ib,al;    E6 ib;
  out ib,ax;    E7 ib;        v
  in al,dx;     EC;
  in ax,dx;     ED;           v
  out dx,al;    EE;
  out dx,ax;    EF;           v
  insb;         6C;           rep
  insv;         6D;           v rep
  outsb;        6E;           rep
  outsv;        6F;           v rep
  clts;         0F 06;
  invd;         0F 08;        norep
  wbinvd;       0F 09;        norep
  wrmsr;        0F 30;
  rdmsr;        0F 32;
  mov r,cr0;    0F 20 /0;     reg g:none
  mov cr3,r;    0F 22 /3;     reg g:none
  mov r,dr7;    0F 21 /7;     reg g:none
  mov dr0,r;    0F 23 /0;     reg g:none
  lgdt;         0F 01 /2;     mem
  lidt;         0F 01 /3;     mem
  lmsw;         0F 01 /6;     g:none
  invlpg;       0F 01 /7;     mem
  lldt;         0F 00 /2;     g:none
  ltr;          0F 00 /3;     g:none
  sysexit;      0F 35;
  push es;      06;           x64
  pop es;       07;           x64
  push cs;      0E;           x64
  push ss;      16;           x64
  pop ss;       17;           x64
  push ds;      1E;           x64
  pop ds;       1F;           x64
  daa;          27;           x64
  das;          2F;           x64
  aaa;          37;           x64
  aas;          3F;           x64
  pusha;        60;           x64
  popa;         61;           x64
  82;           82 /0 ib;     x64 g:none kind:invalid
  call far;     9A iz iw;     x64 kind:invalid
  into;         CE;           x64
  aam;          D4 ib;        x64 kind:invalid
  aad;          D5 ib;        x64 kind:invalid
  salc;         D6;           x64
  jmp far;      EA iz iw;     x64 kind:invalid
  `,
);

export const integerForms: readonly Form[] = [
  ...alu,
  ...shifts,
  ...multiply,
  ...bits,
  ...moves,
  ...stack,
  ...strings,
  ...segments,
  ...flow,
  ...other,
];
