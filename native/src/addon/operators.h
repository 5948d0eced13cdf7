// The exported operators, one registration function per file of this folder.
#pragma once

#include <napi.h>

namespace repfuse::addon {

void ExportElementwise(Napi::Env env, Napi::Object exports);
void ExportConv(Napi::Env env, Napi::Object exports);
void ExportPool(Napi::Env env, Napi::Object exports);
void ExportProbes(Napi::Env env, Napi::Object exports);
void ExportFuse(Napi::Env env, Napi::Object exports);
void ExportHalf(Napi::Env env, Napi::Object exports);
void ExportEngine(Napi::Env env, Napi::Object exports);
void ExportTensorOp(Napi::Env env, Napi::Object exports);

}  // namespace repfuse::addon
