/**
 * Constants of the transcendental functions, as fractions of 2^128 unless said otherwise. `switch` instead of arrays keeps
 * the module free of data segments.
 */

/** High and low word of the constant chosen last. */
export let constantHi: u64 = 0;
export let constantLo: u64 = 0;

// @ts-ignore: decorator
@inline
function choose(hi: u64, lo: u64): void {
  constantHi = hi;
  constantLo = lo;
}

/** 1 / n! for n from 2 to 28. */
export function inverseFactorial(n: i32): void {
  switch (n) {
    case 2:
      return choose(0x8000_0000_0000_0000, 0x0000_0000_0000_0000);
    case 3:
      return choose(0x2aaa_aaaa_aaaa_aaaa, 0xaaaa_aaaa_aaaa_aaab);
    case 4:
      return choose(0x0aaa_aaaa_aaaa_aaaa, 0xaaaa_aaaa_aaaa_aaab);
    case 5:
      return choose(0x0222_2222_2222_2222, 0x2222_2222_2222_2222);
    case 6:
      return choose(0x005b_05b0_5b05_b05b, 0x05b0_5b05_b05b_05b0);
    case 7:
      return choose(0x000d_00d0_0d00_d00d, 0x00d0_0d00_d00d_00d0);
    case 8:
      return choose(0x0001_a01a_01a0_1a01, 0xa01a_01a0_1a01_a01a);
    case 9:
      return choose(0x0000_2e3b_c74a_ad8e, 0x671f_5583_911c_a003);
    case 10:
      return choose(0x0000_049f_93ed_de27, 0xd71c_bbc0_5b4f_a99a);
    case 11:
      return choose(0x0000_006b_9915_9fd5, 0x138e_3f9d_1f92_e0df);
    case 12:
      return choose(0x0000_0008_f76c_77fc, 0x6c4b_daa2_6d4c_3d68);
    case 13:
      return choose(0x0000_0000_b092_309d, 0x4368_4be5_1c19_8e92);
    case 14:
      return choose(0x0000_0000_0c9c_ba54, 0x603e_4e90_5d6f_8a2f);
    case 15:
      return choose(0x0000_0000_00d7_3f9f, 0x399d_c0f8_8ec3_2b58);
    case 16:
      return choose(0x0000_0000_000d_73f9, 0xf399_dc0f_88ec_32b6);
    case 17:
      return choose(0x0000_0000_0000_ca96, 0x3b81_856a_5359_3029);
    case 18:
      return choose(0x0000_0000_0000_0b41, 0x3c31_dcbe_cbbd_d802);
    case 19:
      return choose(0x0000_0000_0000_0097, 0xa4da_340a_0ab9_2651);
    case 20:
      return choose(0x0000_0000_0000_0007, 0x950a_e900_8089_41ea);
    case 21:
      return choose(0x0000_0000_0000_0000, 0x5c6e_3bdb_73d5_c630);
    case 22:
      return choose(0x0000_0000_0000_0000, 0x0433_8e5b_6dfe_14a5);
    case 23:
      return choose(0x0000_0000_0000_0000, 0x002e_c368_262c_7034);
    case 24:
      return choose(0x0000_0000_0000_0000, 0x0001_f2cf_0197_2f57);
    case 25:
      return choose(0x0000_0000_0000_0000, 0x0000_13f3_ccdd_1660);
    case 26:
      return choose(0x0000_0000_0000_0000, 0x0000_00c4_742f_e352);
    case 27:
      return choose(0x0000_0000_0000_0000, 0x0000_0007_46ac_70b7);
    default:
      return choose(0x0000_0000_0000_0000, 0x0000_0000_4286_2899);
  }
}

/** 1 / n for odd n from 3 to 47. */
export function inverseOdd(n: i32): void {
  switch (n) {
    case 3:
      return choose(0x5555_5555_5555_5555, 0x5555_5555_5555_5555);
    case 5:
      return choose(0x3333_3333_3333_3333, 0x3333_3333_3333_3333);
    case 7:
      return choose(0x2492_4924_9249_2492, 0x4924_9249_2492_4925);
    case 9:
      return choose(0x1c71_c71c_71c7_1c71, 0xc71c_71c7_1c71_c71c);
    case 11:
      return choose(0x1745_d174_5d17_45d1, 0x745d_1745_d174_5d17);
    case 13:
      return choose(0x13b1_3b13_b13b_13b1, 0x3b13_b13b_13b1_3b14);
    case 15:
      return choose(0x1111_1111_1111_1111, 0x1111_1111_1111_1111);
    case 17:
      return choose(0x0f0f_0f0f_0f0f_0f0f, 0x0f0f_0f0f_0f0f_0f0f);
    case 19:
      return choose(0x0d79_435e_50d7_9435, 0xe50d_7943_5e50_d794);
    case 21:
      return choose(0x0c30_c30c_30c3_0c30, 0xc30c_30c3_0c30_c30c);
    case 23:
      return choose(0x0b21_642c_8590_b216, 0x42c8_590b_2164_2c86);
    case 25:
      return choose(0x0a3d_70a3_d70a_3d70, 0xa3d7_0a3d_70a3_d70a);
    case 27:
      return choose(0x097b_425e_d097_b425, 0xed09_7b42_5ed0_97b4);
    case 29:
      return choose(0x08d3_dcb0_8d3d_cb08, 0xd3dc_b08d_3dcb_08d4);
    case 31:
      return choose(0x0842_1084_2108_4210, 0x8421_0842_1084_2108);
    case 33:
      return choose(0x07c1_f07c_1f07_c1f0, 0x7c1f_07c1_f07c_1f08);
    case 35:
      return choose(0x0750_7507_5075_0750, 0x7507_5075_0750_7507);
    case 37:
      return choose(0x06eb_3e45_306e_b3e4, 0x5306_eb3e_4530_6eb4);
    case 39:
      return choose(0x0690_6906_9069_0690, 0x6906_9069_0690_6907);
    case 41:
      return choose(0x063e_7063_e706_3e70, 0x63e7_063e_7063_e706);
    case 43:
      return choose(0x05f4_17d0_5f41_7d05, 0xf417_d05f_417d_05f4);
    case 45:
      return choose(0x05b0_5b05_b05b_05b0, 0x5b05_b05b_05b0_5b06);
    default:
      return choose(0x0572_620a_e4c4_15c9, 0x882b_9310_5726_20ae);
  }
}

/** Arc tangent of n / 32, for n from 1 to 32, as a fraction of 2^126. */
export function arcTangent(n: i32): void {
  switch (n) {
    case 1:
      return choose(0x01ff_d55b_ba97_624a, 0x84ef_3aee_dbb5_18c4);
    case 2:
      return choose(0x03fe_ab76_e59f_bd38, 0xdb2c_9e4b_7038_b835);
    case 3:
      return choose(0x05fb_8609_80bc_43a3, 0x049a_b3f3_c267_c1b4);
    case 4:
      return choose(0x07f5_6ea6_ab0b_db71, 0x9644_bcc4_f9f4_4478);
    case 5:
      return choose(0x09eb_7774_6331_362c, 0x3476_19d2_5036_0fe8);
    case 6:
      return choose(0x0bdc_bda5_e72d_8113, 0x47b0_b4f8_81c9_c748);
    case 7:
      return choose(0x0dc8_6ba9_4930_5102, 0x2f62_1a5c_1cb5_52f0);
    case 8:
      return choose(0x0fad_bafc_9640_6eb1, 0x56dc_79ef_5f7a_217e);
    case 9:
      return choose(0x118b_f5a3_0bf1_7826, 0x1948_e916_37f1_0532);
    case 10:
      return choose(0x1362_7737_07eb_cbcd, 0x38b5_7693_1a4f_5e65);
    case 11:
      return choose(0x1530_ad99_51cd_49db, 0x5336_feef_7efb_3d18);
    case 12:
      return choose(0x16f6_1941_e4de_f08e, 0x7154_6424_5b9f_c890);
    case 13:
      return choose(0x18b2_4d39_4a1b_256d, 0xb42e_8dd2_3ea1_451c);
    case 14:
      return choose(0x1a64_eec3_cc23_fcb6, 0xc84f_92bd_2003_ce27);
    case 15:
      return choose(0x1c0d_b4c9_4ec9_ef8c, 0xf8c6_3db2_cf31_9700);
    case 16:
      return choose(0x1dac_6705_61bb_4f68, 0xadfc_88bd_9787_51a0);
    case 17:
      return choose(0x1f40_dd0b_5414_17cb, 0x8cda_478f_abb9_1d98);
    case 18:
      return choose(0x20ca_fd29_b661_9f8a, 0x92da_8272_d869_4570);
    case 19:
      return choose(0x224a_bb37_f7a5_51ed, 0x4251_1e3f_11ca_d2bf);
    case 20:
      return choose(0x23c0_1757_bdfd_67e6, 0xd720_d785_9971_0dd2);
    case 21:
      return choose(0x252b_1cb2_611c_61bd, 0x8631_3ce4_fde2_8cbe);
    case 22:
      return choose(0x268b_e039_9c6f_7688, 0x1089_be38_8813_fcef);
    case 23:
      return choose(0x27e2_7f71_3d2d_e87b, 0x3e2d_2499_13c1_c078);
    case 24:
      return choose(0x292f_1f46_4d3d_c249, 0x066a_1fca_915f_6b28);
    case 25:
      return choose(0x2a71_eaf7_120c_3d72, 0x245a_a12d_6f9e_4cfd);
    case 26:
      return choose(0x2bab_130e_2d36_3020, 0x051c_978b_cf94_81c3);
    case 27:
      return choose(0x2cda_cc72_47c1_0da4, 0x5640_505d_1118_be4e);
    case 28:
      return choose(0x2e01_4f8a_f08c_679c, 0xf2cb_6954_8429_110f);
    case 29:
      return choose(0x2f1e_d77a_ba62_bca0, 0x3504_4c01_ba03_eca4);
    case 30:
      return choose(0x3033_a16e_2b14_9990, 0x2277_58b1_1ba4_be89);
    case 31:
      return choose(0x313f_ebfe_afe3_ef55, 0x232d_0f44_2f27_8088);
    default:
      return choose(0x3243_f6a8_885a_308d, 0x3131_98a2_e037_0734);
  }
}

/** ln 2. */
export const LN2_HI: u64 = 0xb172_17f7_d1cf_79ab;
export const LN2_LO: u64 = 0xc9e3_b398_03f2_f6af;
/** 1 / (2 ln 2). */
export const INVERSE_LN2_HI: u64 = 0xb8aa_3b29_5c17_f0bb;
export const INVERSE_LN2_LO: u64 = 0xbe87_fed0_691d_3e89;
/** Pi as a fraction of 2^126. */
export const PI_HI: u64 = 0xc90f_daa2_2168_c234;
export const PI_LO: u64 = 0xc4c6_628b_80dc_1cd1;
