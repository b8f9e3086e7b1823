/* Made by tools/coefficients.py. */

#ifndef FASTLOSS_COEFFICIENTS_H
#define FASTLOSS_COEFFICIENTS_H

/* exp(r) = 1 + r + r^2 q(r), log(3/4) <= r <= log(3/2) */
#define EXP_F32_0 0x1.000006p-1f
#define EXP_F32_1 0x1.5554d8p-3f
#define EXP_F32_2 0x1.5543a2p-5f
#define EXP_F32_3 0x1.11f13p-7f
#define EXP_F32_4 0x1.80129ap-10f

/* the same in double */
#define EXP_F64_0 0x1.ffffffffffffep-2
#define EXP_F64_1 0x1.55555555556d7p-3
#define EXP_F64_2 0x1.55555555560eap-5
#define EXP_F64_3 0x1.1111111090ddfp-7
#define EXP_F64_4 0x1.6c16c16a2f638p-10
#define EXP_F64_5 0x1.a01a0540cc62ep-13
#define EXP_F64_6 0x1.a019f6a7e89bep-16
#define EXP_F64_7 0x1.71d33344fe1bap-19
#define EXP_F64_8 0x1.283de1a3699b2p-22
#define EXP_F64_9 0x1.c6c9d2587586dp-26

/* the same for |r| <= log(2)/32 */
#define EXP_STEP_F32_0 0x1.0001bp-1f
#define EXP_STEP_F32_1 0x1.5553ep-3f

/* the same in double */
#define EXP_STEP_F64_0 0x1.fffffffffffe6p-2
#define EXP_STEP_F64_1 0x1.55555554c5d5fp-3
#define EXP_STEP_F64_2 0x1.55555557edad3p-5
#define EXP_STEP_F64_3 0x1.11121b67735fdp-7
#define EXP_STEP_F64_4 0x1.6c1502f9ba616p-10

/* 2^(j/16) */
#define EXP_TABLE_F32_0 0x1p+0f
#define EXP_TABLE_F32_1 0x1.0b5586p+0f
#define EXP_TABLE_F32_2 0x1.172b84p+0f
#define EXP_TABLE_F32_3 0x1.2387a6p+0f
#define EXP_TABLE_F32_4 0x1.306fep+0f
#define EXP_TABLE_F32_5 0x1.3dea64p+0f
#define EXP_TABLE_F32_6 0x1.4bfdaep+0f
#define EXP_TABLE_F32_7 0x1.5ab07ep+0f
#define EXP_TABLE_F32_8 0x1.6a09e6p+0f
#define EXP_TABLE_F32_9 0x1.7a1148p+0f
#define EXP_TABLE_F32_10 0x1.8ace54p+0f
#define EXP_TABLE_F32_11 0x1.9c4918p+0f
#define EXP_TABLE_F32_12 0x1.ae89fap+0f
#define EXP_TABLE_F32_13 0x1.c199bep+0f
#define EXP_TABLE_F32_14 0x1.d5818ep+0f
#define EXP_TABLE_F32_15 0x1.ea4afap+0f

/* what its rounding left over, as a part of it */
#define EXP_LEFT_F32_0 0x0p+0f
#define EXP_LEFT_F32_1 0x1.8d96d4p-25f
#define EXP_LEFT_F32_2 -0x1.9c0c22p-27f
#define EXP_LEFT_F32_3 0x1.964904p-25f
#define EXP_LEFT_F32_4 0x1.125002p-25f
#define EXP_LEFT_F32_5 0x1.370be4p-25f
#define EXP_LEFT_F32_6 -0x1.0a355p-25f
#define EXP_LEFT_F32_7 -0x1.00d8acp-27f
#define EXP_LEFT_F32_8 0x1.26055cp-26f
#define EXP_LEFT_F32_9 -0x1.05cb44p-25f
#define EXP_LEFT_F32_10 0x1.67a1cap-28f
#define EXP_LEFT_F32_11 0x1.a3b5e4p-28f
#define EXP_LEFT_F32_12 -0x1.f9c304p-27f
#define EXP_LEFT_F32_13 -0x1.6961b4p-28f
#define EXP_LEFT_F32_14 -0x1.a5217cp-28f
#define EXP_LEFT_F32_15 0x1.61428ep-28f

/* the same in double */
#define EXP_TABLE_F64_0 0x1p+0
#define EXP_TABLE_F64_1 0x1.0b5586cf9890fp+0
#define EXP_TABLE_F64_2 0x1.172b83c7d517bp+0
#define EXP_TABLE_F64_3 0x1.2387a6e756238p+0
#define EXP_TABLE_F64_4 0x1.306fe0a31b715p+0
#define EXP_TABLE_F64_5 0x1.3dea64c123422p+0
#define EXP_TABLE_F64_6 0x1.4bfdad5362a27p+0
#define EXP_TABLE_F64_7 0x1.5ab07dd485429p+0
#define EXP_TABLE_F64_8 0x1.6a09e667f3bcdp+0
#define EXP_TABLE_F64_9 0x1.7a11473eb0187p+0
#define EXP_TABLE_F64_10 0x1.8ace5422aa0dbp+0
#define EXP_TABLE_F64_11 0x1.9c49182a3f09p+0
#define EXP_TABLE_F64_12 0x1.ae89f995ad3adp+0
#define EXP_TABLE_F64_13 0x1.c199bdd85529cp+0
#define EXP_TABLE_F64_14 0x1.d5818dcfba487p+0
#define EXP_TABLE_F64_15 0x1.ea4afa2a490dap+0

/* what its rounding left over, as a part of it */
#define EXP_LEFT_F64_0 0x0p+0
#define EXP_LEFT_F64_1 0x1.79aa65d837b6dp-54
#define EXP_LEFT_F64_2 -0x1.01b15eaa59348p-55
#define EXP_LEFT_F64_3 0x1.68efde3a8a894p-54
#define EXP_LEFT_F64_4 0x1.34d754db0abb6p-55
#define EXP_LEFT_F64_5 0x1.59f48a72a4c6dp-55
#define EXP_LEFT_F64_6 0x1.690cebb7aafbp-56
#define EXP_LEFT_F64_7 0x1.063e1e21c5409p-54
#define EXP_LEFT_F64_8 -0x1.3b3efbf5e2228p-54
#define EXP_LEFT_F64_9 -0x1.b32dcb94da51dp-56
#define EXP_LEFT_F64_10 0x1.db72fc1f0eab4p-55
#define EXP_LEFT_F64_11 0x1.1affc2b91ce27p-56
#define EXP_LEFT_F64_12 0x1.c1a7792cb3387p-55
#define EXP_LEFT_F64_13 0x1.36eae30af0cb3p-56
#define EXP_LEFT_F64_14 0x1.4a385a63d07a7p-56
#define EXP_LEFT_F64_15 -0x1.ff7128fd391fp-55

/* expm1(r) = r + r^2/2 + r^3 w(r), log(3/4) <= r <= log(3/2) */
#define EXPM1_F32_0 0x1.55555ap-3f
#define EXPM1_F32_1 0x1.555526p-5f
#define EXPM1_F32_2 0x1.11065p-7f
#define EXPM1_F32_3 0x1.6cde0cp-10f
#define EXPM1_F32_4 0x1.b749cep-13f

/* the same in double */
#define EXPM1_F64_0 0x1.5555555555554p-3
#define EXPM1_F64_1 0x1.55555555555c9p-5
#define EXPM1_F64_2 0x1.1111111111b2fp-7
#define EXPM1_F64_3 0x1.6c16c16bc7d6bp-10
#define EXPM1_F64_4 0x1.a01a019b6e3ccp-13
#define EXPM1_F64_5 0x1.a01a03edcb6b4p-16
#define EXPM1_F64_6 0x1.71de3f67567cep-19
#define EXPM1_F64_7 0x1.27ddc22257889p-22
#define EXPM1_F64_8 0x1.aeb5e8d683e7fp-26
#define EXPM1_F64_9 0x1.2f570e24eac73p-29

/* log1p(f) = 2 s + s z R(z), s = f / (2 + f), z = s^2, -1/3 <= f <= 1/2 */
#define LOG_F32_0 0x1.5555b4p-1f
#define LOG_F32_1 0x1.992b0ap-2f
#define LOG_F32_2 0x1.36e46ep-2f

/* the same in double */
#define LOG_F64_0 0x1.5555555555776p-1
#define LOG_F64_1 0x1.99999998f0ca3p-2
#define LOG_F64_2 0x1.249249b21bf32p-2
#define LOG_F64_3 0x1.c71c0168fdf54p-3
#define LOG_F64_4 0x1.7474e1e8e197ep-3
#define LOG_F64_5 0x1.3852e8ddcfa55p-3
#define LOG_F64_6 0x1.3abd9318b644p-3

/* the same for 0 <= f <= 1 */
#define LOG1P_UNIT_F64_0 0x1.5555555555535p-1
#define LOG1P_UNIT_F64_1 0x1.99999999a084p-2
#define LOG1P_UNIT_F64_2 0x1.2492492085774p-2
#define LOG1P_UNIT_F64_3 0x1.c71c741f8c4a6p-3
#define LOG1P_UNIT_F64_4 0x1.745cb39b6c1e7p-3
#define LOG1P_UNIT_F64_5 0x1.3b1de3241630ep-3
#define LOG1P_UNIT_F64_6 0x1.1067689908b1p-3
#define LOG1P_UNIT_F64_7 0x1.efdd835b2845dp-4
#define LOG1P_UNIT_F64_8 0x1.559c4e7d4b5ffp-4
#define LOG1P_UNIT_F64_9 0x1.5c8a592717551p-3

/* log1p(x) = x (7/8 + P(x - 1/2)), 0 <= x <= 1 */
#define LOG1P_UNIT_F32_0 -0x1.066e08p-4f
#define LOG1P_UNIT_F32_1 -0x1.2773a6p-2f
#define LOG1P_UNIT_F32_2 0x1.0f955p-3f
#define LOG1P_UNIT_F32_3 -0x1.153fb2p-4f
#define LOG1P_UNIT_F32_4 0x1.2c1e28p-5f
#define LOG1P_UNIT_F32_5 -0x1.510614p-6f
#define LOG1P_UNIT_F32_6 0x1.7b53c6p-7f
#define LOG1P_UNIT_F32_7 -0x1.ba5cacp-8f
#define LOG1P_UNIT_F32_8 0x1.5848a4p-8f
#define LOG1P_UNIT_F32_9 -0x1.a9338ep-9f

/* log cosh(r) = t/2 + t^2 P(t), t = r^2, |r| <= 3/4 */
#define LOG_COSH_F32_0 -0x1.555522p-4f
#define LOG_COSH_F32_1 0x1.6c0176p-6f
#define LOG_COSH_F32_2 -0x1.b743e2p-8f
#define LOG_COSH_F32_3 0x1.08f4c6p-9f
#define LOG_COSH_F32_4 -0x1.c7add8p-12f

/* the same in double */
#define LOG_COSH_F64_0 -0x1.5555555555538p-4
#define LOG_COSH_F64_1 0x1.6c16c16c1349ap-6
#define LOG_COSH_F64_2 -0x1.ba1ba1b7c8581p-8
#define LOG_COSH_F64_3 0x1.1ea5d3378cdb9p-9
#define LOG_COSH_F64_4 -0x1.833d88a75d8eap-11
#define LOG_COSH_F64_5 0x1.0d0a11ac04612p-12
#define LOG_COSH_F64_6 -0x1.7d8827ecd8087p-14
#define LOG_COSH_F64_7 0x1.122d6c010d2bap-15
#define LOG_COSH_F64_8 -0x1.88ec3837efb4fp-17
#define LOG_COSH_F64_9 0x1.09dabbc65ac84p-18
#define LOG_COSH_F64_10 -0x1.25769a48f31bp-20
#define LOG_COSH_F64_11 0x1.734b86a4c5fdbp-23

/* log1p(x) = x + x^2 P(x), 0 <= x <= exp(-3/2) */
#define LOG1P_SMALL_F32_0 -0x1.ffff7ap-2f
#define LOG1P_SMALL_F32_1 0x1.55398ep-2f
#define LOG1P_SMALL_F32_2 -0x1.fbfdp-3f
#define LOG1P_SMALL_F32_3 0x1.772e46p-3f
#define LOG1P_SMALL_F32_4 -0x1.86458ep-4f

/* the same in double */
#define LOG1P_SMALL_F64_0 -0x1.ffffffffffec4p-2
#define LOG1P_SMALL_F64_1 0x1.55555555273cep-2
#define LOG1P_SMALL_F64_2 -0x1.ffffffda48474p-3
#define LOG1P_SMALL_F64_3 0x1.999992c171255p-3
#define LOG1P_SMALL_F64_4 -0x1.5554a29afa304p-3
#define LOG1P_SMALL_F64_5 0x1.2486e69adbe86p-3
#define LOG1P_SMALL_F64_6 -0x1.ff0b7d8f75c3bp-4
#define LOG1P_SMALL_F64_7 0x1.c030feefa5d9ap-4
#define LOG1P_SMALL_F64_8 -0x1.77a6f9b715ea5p-4
#define LOG1P_SMALL_F64_9 0x1.05352c2ab2a6cp-4
#define LOG1P_SMALL_F64_10 -0x1.a6d120cf7f8fdp-6

#define SQRT_HALF_F32 0x1.6a09e6p-1f
#define SQRT_HALF_F64 0x1.6a09e667f3bcdp-1

/* ln 2 = LN2_F32_HI + LN2_F32_LO; the high part has 15 bits. */
#define LN2_F32_HI 0x1.62e4p-1f
#define LN2_F32_LO 0x1.7f7d1cp-20f

/* ln 2 = LN2_F64_HI + LN2_F64_LO; the high part has 41 bits. */
#define LN2_F64_HI 0x1.62e42fefa3p-1
#define LN2_F64_LO 0x1.3de6af278ece6p-42

#endif
