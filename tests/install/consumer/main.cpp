#include <anydraft/version.h>

#include <cstdio>

int main() { return std::puts(anydraft::version()) < 0; }
