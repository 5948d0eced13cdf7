/** The ONNX project's node tests that ask for what repfuse does not run, with the words in which it says so. */
export const REFUSED: Readonly<Record<string, string>> = {
  // Volumes, not images.
  test_averagepool_3d_dilations_small: '1 other: AveragePool of 3 dimensions',
  test_col2im_5d: 'no images of height and width',
  test_maxpool_3d_dilations: '1 other: MaxPool of 3 dimensions',
  test_maxpool_3d_dilations_use_ref_impl: '1 other: MaxPool of 3 dimensions',
  test_convtranspose_3d: '1 other: ConvTranspose of 3 dimensions',
  // The same.
  test_gridsample_volumetric_bilinear_align_corners_0: 'expected [N, C, H, W]',
  test_gridsample_volumetric_bilinear_align_corners_1: 'expected [N, C, H, W]',
  test_gridsample_volumetric_nearest_align_corners_0: 'expected [N, C, H, W]',
  test_gridsample_volumetric_nearest_align_corners_1: 'expected [N, C, H, W]',
  // What no exporter writes of a recurrent layer.
  test_lstm_bidirectional: 'its last cell state',
  test_lstm_reverse: 'its last cell state',
  test_lstm_with_peepholes: 'lengths of their own',
  // An axis that no other value and no result has, and a diagonal.
  test_einsum_batch_diagonal: 'takes a diagonal',
  test_einsum_sum: 'sums over an axis of one value alone',
  // Training.
  test_batchnorm_epsilon_training_mode: 'by batch statistics',
  test_batchnorm_example_training_mode: 'by batch statistics',
  // A second output, of indices.
  test_maxpool_with_argmax_2d_precomputed_pads: '1 other: MaxPool with indices',
  test_maxpool_with_argmax_2d_precomputed_strides: '1 other: MaxPool with indices',
  // A tensor without elements.
  test_reduce_l1_empty_set: "Expected positive integers for the input's shape",
  test_reduce_l2_empty_set: "Expected positive integers for the input's shape",
  test_reduce_log_sum_empty_set: "Expected positive integers for the input's shape",
  test_reduce_log_sum_exp_empty_set: "Expected positive integers for the input's shape",
  test_reduce_max_empty_set: "Expected positive integers for the input's shape",
  test_reduce_max_empty_set_bool: "Expected positive integers for the input's shape",
  test_reduce_min_empty_set: "Expected positive integers for the input's shape",
  test_reduce_prod_empty_set: "Expected positive integers for the input's shape",
  test_reduce_sum_empty_set: "Expected positive integers for the input's shape",
  test_reduce_sum_empty_set_non_reduced_axis_zero: "Expected positive integers for the input's shape",
  test_reduce_sum_square_empty_set: "Expected positive integers for the input's shape",
  test_tril_zero: "Expected positive integers for the input's shape",
  test_triu_zero: "Expected positive integers for the input's shape",
  test_reshape_allowzero_reordered: 'its result is empty',
};
