// What the texts of every level speak of; to be included before a level's target region.
#pragma once

#include "../blocked/conv_tile.h"
#include "../blocked/depthwise_tile.h"
#include "../blocked/finish_row.h"
#include "../blocked/pick_lanes.h"
#include "../blocked/winograd_tile.h"
#include "../conv/panel.h"
#include "../depthwise/rows.h"
#include "../elementwise/binary_rows.h"
#include "../gemm/gemm.h"
#include "../pool/sum_map.h"
#include "../pool/window.h"
#include "../terms/terms.h"
#include "levels.h"
