import type { FamilyRule } from '../rule';
import { ACNET } from './acnet';
import { ARTICLE_ACNET, ARTICLE_REPVGG } from './article';
import { CONV_BN, DBB_CONV_BN, LEVIT_LINEAR_BN } from './conv-bn';
import { REPCONV, REPOPT, RT_DETR, ULTRALYTICS_CONV2 } from './conv-pair';
import { DBB } from './dbb';
import { ECBSR } from './ecbsr';
import { REPCPE, REPMIXER, TIMM_REPCPE, TIMM_REPMIXER } from './fastvit';
import { GHOSTNETV3, REPGHOST } from './ghost';
import { YOLO_IMPLICIT } from './implicit';
import { REPLKNET, TIMM_LARGE_KERNEL, UNIREPLKNET } from './large-kernel';
import { BN_LINEAR } from './linear';
import { MM_MOBILEONE, MOBILEONE, TIMM_MOBILEONE } from './mobileone';
import { OREPA, OREPA_1X1 } from './orepa';
import { PP_LCNETV2, PP_LCNETV3 } from './paddle';
import { QAREPVGG, QAREPVGG_PLAIN, YOLO_NAS, YOLOV6_QAREPVGG } from './qarepvgg';
import { MM_REPVGG, REPVGG, REPVGG_ALPHA, REPVGG_BN_FUSED, REPVGG_QAT, SG_REPVGG, TIMM_REPVGG, YOLOV7 } from './repvgg';
import { REPVIT, YOLOV10_REPVGGDW } from './repvit';

/** Every system that repfuse knows; where two rules fit a key, the earlier one wins. */
export const FAMILY_RULES: readonly FamilyRule[] = [
  DBB,
  ACNET,
  ECBSR,
  UNIREPLKNET,
  REPLKNET,
  TIMM_LARGE_KERNEL,
  REPMIXER,
  TIMM_REPMIXER,
  MOBILEONE,
  PP_LCNETV3,
  TIMM_MOBILEONE,
  MM_MOBILEONE,
  TIMM_REPVGG,
  REPVGG_BN_FUSED,
  YOLOV6_QAREPVGG,
  QAREPVGG,
  QAREPVGG_PLAIN,
  REPVGG_ALPHA,
  REPVGG,
  YOLOV7,
  REPVGG_QAT,
  YOLO_NAS,
  MM_REPVGG,
  SG_REPVGG,
  ARTICLE_ACNET,
  ARTICLE_REPVGG,
  PP_LCNETV2,
  REPVIT,
  YOLOV10_REPVGGDW,
  REPOPT,
  ULTRALYTICS_CONV2,
  RT_DETR,
  REPCONV,
  OREPA,
  OREPA_1X1,
  REPGHOST,
  ...GHOSTNETV3,
  YOLO_IMPLICIT,
  ...BN_LINEAR,
  REPCPE,
  TIMM_REPCPE,
  DBB_CONV_BN,
  LEVIT_LINEAR_BN,
  ...CONV_BN,
];
