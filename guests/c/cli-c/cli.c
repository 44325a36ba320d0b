/* Prints one line, its arguments and one variable, and exits with the number of arguments: a WASI preview 1 command. */
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
    printf("Hello from C\n");
    for (int index = 1; index < count; index++) printf("argument: %s\n", arguments[index]);
    const char *name = getenv("NAME");
    if (name) printf("NAME: %s\n", name);
    return count - 1;
}
