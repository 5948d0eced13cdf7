/**
 * A network whose code or configuration decides the eps of its BatchNorms, as plain data: which names in a file show it, and what
 * then holds for the whole network. A family rule says what one block is; eps is a fact of the network around it.
 *
 * A sign is dotted text that stands for whole names anywhere in a key: `#` for digits, `*` for any text within a name.
 * `ERBlock_#` is found in `backbone.ERBlock_2.0.rbr_dense.conv.weight`. Signs are names of modules, which stay in deploy form.
 */
export interface NetworkRule {
  /** Its name in reports. */
  readonly network: string;
  /** Where its code is. */
  readonly source: string;
  readonly signs: readonly string[];
  /** Texts beside the weights (`meta` of mmengine) that show it, wherever one of these words is in a text or its name. */
  readonly words?: readonly string[];
  /** Signs count only at the start of keys, behind names that wrap a network (`model.`, `ema.`): elsewhere they prove too little. */
  readonly onlyAtTop?: boolean;
  /** Signs that prove little: they count only where nothing else does. */
  readonly weak?: boolean;
  /** Networks whose signs it has too. */
  readonly insteadOf?: readonly string[];
  readonly eps: number;
  /** What sets eps. */
  readonly because: string;
  /** Modules, as signs, whose BatchNorms that does not reach. */
  readonly apart?: { readonly signs: readonly string[]; readonly eps: number; readonly because: string };
  /** Families of its blocks: settles what their keys leave in doubt, and allows those that are only looked for in their networks. */
  readonly families?: readonly string[];
}

const INITIALIZED = 'initialize_weights sets it in every BatchNorm2d';
const NORM_CFG = 'norm_cfg of its configurations';
const DEFAULT = 'the default of BatchNorm2d, never changed';

/** The networks that repfuse knows. What holds of classifiers (torch's 1e-5) needs no entry: it is the default of their families. */
export const NETWORKS: readonly NetworkRule[] = [
  {
    network: 'YOLOv6',
    source: 'meituan/YOLOv6, utils/torch_utils.py',
    signs: [
      'ERBlock_#',
      'Rep_p#',
      'Rep_n#',
      'Bifusion#',
      'reduce_layer#',
      'lite_effiblock_#',
      'Csp_p#',
      'Csp_n#',
      'detect.stems.#',
      'detect.cls_convs*.#',
      'detect.reg_convs*.#',
      'detect.proj_conv',
      'stems.#.block',
    ],
    eps: 1e-3,
    because: INITIALIZED,
    families: ['yolov6-qarepvgg'],
  },
  {
    network: 'Gold-YOLO',
    source: 'huawei-noah/Efficient-Computing, Detection/Gold-YOLO (of YOLOv6)',
    signs: ['low_IFM', 'high_IFM', 'LAF_p#', 'Inject_p#', 'Inject_n#', 'reduce_layer_c#', 'reduce_layer_p#'],
    insteadOf: ['YOLOv6'],
    eps: 1e-3,
    because: INITIALIZED,
    apart: {
      signs: ['Inject_p#', 'Inject_n#', 'high_IFM'],
      eps: 1e-5,
      because: 'a SyncBatchNorm, which initialize_weights passes by',
    },
    families: ['yolov6-qarepvgg'],
  },
  {
    network: 'Ultralytics',
    source: 'ultralytics, utils/torch_utils.py; YOLOv5, v7, v9, v10',
    signs: ['#.cv#', '#.m.#', '#.rbr_*.#', '#.ia.#', '#.im.#'],
    onlyAtTop: true,
    eps: 1e-3,
    because: INITIALIZED,
    families: ['repconv'],
  },
  {
    network: 'Ultralytics',
    source: 'ultralytics, utils/torch_utils.py; YOLOv5, v7, v9, v10',
    signs: ['model.#.conv', 'model.#.conv#', 'model.#.rbr_*'],
    onlyAtTop: true,
    weak: true,
    eps: 1e-3,
    because: INITIALIZED,
    families: ['repconv'],
  },
  {
    network: 'YOLOX',
    source: 'Megvii-BaseDetection/YOLOX, exp/yolox_base.py',
    signs: ['dark#.#.conv', 'dark#.#.conv#'],
    eps: 1e-3,
    because: 'init_yolo sets it in every BatchNorm2d',
  },
  {
    network: 'DAMO-YOLO',
    source: 'tinyvision/DAMO-YOLO, detectors/detector.py',
    signs: ['block_list.#.block_list.#', 'csp_stage.#.convstem.#', 'merge_#.conv*', 'bu_conv#'],
    eps: 1e-3,
    because: 'init_bn sets it in every BatchNorm2d',
  },
  {
    network: 'YOLO-NAS',
    source: 'Deci-AI/super-gradients, recipes/arch_params/yolo_nas_*',
    signs: ['bottlenecks.#.cv#.branch_*', 'bottlenecks.#.cv#.rbr_reparam', 'context_module.cv#', 'heads.head#.*.seq'],
    eps: 1e-3,
    because: 'bn_eps of its recipes',
  },
  {
    network: 'YOLO-NAS-POSE',
    source: 'Deci-AI/super-gradients, recipes/arch_params/yolo_nas_pose_*',
    signs: ['heads.head#.pose_*'],
    insteadOf: ['YOLO-NAS'],
    eps: 1e-6,
    because: 'bn_eps of its recipes',
  },
  {
    network: 'YOLOv6 of mmyolo',
    source: 'open-mmlab/mmyolo, configs/yolov6',
    signs: [
      'stage#.#.conv1.rbr_*',
      'stage#.#.block.#.rbr_*',
      'stage#.#.block.conv1.conv#',
      'stage#.#.block.block.#.conv#',
      'stage#.#.#.rbr_*',
      'stage#.#.#.conv1.rbr_*',
      'stage#.#.#.block.conv1.conv#',
      '*_layers.#.conv1.rbr_*',
      '*_layers.#.block.#.rbr_*',
      '*_layers.#.block.conv1.conv#',
      '*_layers.#.#.conv1.rbr_*',
      '*_layers.#.#.block.#.rbr_*',
      '*_layers.#.#.block.conv1.conv#',
      'head_module.stems.#',
    ],
    eps: 1e-3,
    because: NORM_CFG,
  },
  {
    network: 'YOLOv7 of mmyolo',
    source: 'open-mmlab/mmyolo, configs/yolov7',
    signs: [
      'out_layers.#.rbr_*',
      'stage#.#.blocks.#.#.conv',
      'stage#.#.main_convs.#',
      'stage#.#.maxpool_branches',
      'stage#.#.e_elan_blocks.#',
      'reduce_layers.#.fuse_layers',
      '*_layers.#.blocks.#.#.conv',
      '*_layers.#.maxpool_branches',
      '*_layers.#.main_convs.#',
      'convs_pred.#.0.implicit',
      'main_convs_pred.#',
    ],
    eps: 1e-3,
    because: NORM_CFG,
  },
  {
    network: 'YOLOv5, v8 or X of mmyolo',
    source: 'open-mmlab/mmyolo, configs/yolov5, yolov8 and yolox; mmdetection, configs/yolox',
    signs: [
      'stage#.#.blocks.#.conv2.conv',
      '*_layers.#.blocks.#.conv2.conv',
      '*_layers.#.#.blocks.#.conv2.conv',
      'head_module.convs_pred.#',
      'head_module.cls_preds.#.#.conv',
      'multi_level_cls_convs.#',
    ],
    eps: 1e-3,
    because: NORM_CFG,
  },
  {
    network: 'PPYOLOE of mmyolo',
    source: 'open-mmlab/mmyolo, configs/ppyoloe',
    signs: [
      'stage#.#.conv_down',
      'stage#.#.blocks.#.conv2.rbr_*',
      'stage#.#.blocks.#.conv2.alpha',
      '*_layers.#.#.blocks.#.conv2.rbr_*',
      '*_layers.#.#.blocks.#.conv2.alpha',
      '*_layers.#.#.convs.#.conv2.rbr_*',
      'head_module.cls_stems.#',
      'head_module.reg_stems.#',
    ],
    eps: 1e-5,
    because: NORM_CFG,
  },
  {
    network: 'RTMDet',
    source: 'open-mmlab/mmyolo and mmdetection, configs/rtmdet',
    signs: ['rtm_cls', 'rtm_reg', 'stage#.#.attention.fc'],
    eps: 1e-5,
    because: NORM_CFG,
  },
  {
    network: 'mmyolo',
    source: 'open-mmlab/mmyolo, mmyolo/models',
    signs: ['bbox_head.head_module'],
    words: ['mmyolo'],
    weak: true,
    eps: 1e-3,
    because: 'the default norm_cfg of most of its modules',
  },
  {
    network: 'PP-YOLOE',
    source: 'PaddlePaddle/PaddleDetection, ppdet/modeling/backbones/cspresnet.py',
    signs: [
      'stages.#.blocks.#.conv2.conv#',
      'stages.#.blocks.#.conv2.alpha',
      'fpn_stages.#',
      'pan_stages.#',
      'fpn_routes.#',
      'pan_routes.#',
    ],
    eps: 1e-5,
    because: DEFAULT,
    families: ['repconv'],
  },
  {
    network: 'RT-DETR or D-FINE',
    source: 'lyuwenyu/RT-DETR, hybrid_encoder.py; Peterande/D-FINE; PaddleDetection',
    signs: ['fpn_blocks.#', 'pan_blocks.#'],
    eps: 1e-5,
    because: DEFAULT,
    families: ['rt-detr', 'repconv'],
  },
];
