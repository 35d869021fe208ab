/* bcryptprimitives.dll, for Wines that lack it: what Rust's standard library asks of it, over what
   they have. For tests only. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID to, ULONG bytes);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T bytes)
{
    return SystemFunction036(to, (ULONG)bytes);
}
