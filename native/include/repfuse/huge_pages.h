// Fewer page faults for large memory: on virtual machines a fresh page of 4 KiB costs more than what is done with it.
#pragma once

#include <cstddef>

namespace repfuse {

// Asks the system to back fresh memory by huge pages, where it has them. Only a hint: contents and size stay as they are.
void AdviseHugePages(void* data, size_t bytes);

}  // namespace repfuse
